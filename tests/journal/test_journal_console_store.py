"""The store of the console: users, tokens, sessions and the audit log, kept beside the runs."""

from dataclasses import asdict, replace

import pytest
from sqlalchemy import Connection, insert, update

from bulkid.errors import UsageError
from bulkid.journal.console_store import AuditRecord, ConsoleStore, SessionRecord, SessionStore, TokenRecord
from bulkid.journal.migrate import STEPS
from bulkid.journal.names import user_key
from bulkid.journal.schema import audit, schema_version, tokens, users
from bulkid.journal.store import Journal
from tests.support.journal_data import Place


def test_names_of_users_compare_without_regard_to_case(journal: Journal) -> None:
    console = ConsoleStore(journal, random_bits=lambda _bits: 7)
    console.add_user("Ådá", "admin", "hash", 1.0)
    with pytest.raises(UsageError, match="already"):
        console.add_user("ÅDÁ", "viewer", "hash", 2.0)
    found = console.user("ådá")
    assert found is not None
    assert (found.name, found.role, found.epoch) == ("Ådá", "admin", 7)
    assert console.user("ada") is None


def test_every_change_of_a_user_ends_the_sessions_there_are(journal: Journal) -> None:
    console = ConsoleStore(journal, random_bits=lambda _bits: 7)
    console.add_user("ada", "admin", "hash", 1.0)
    assert console.change_user("ada")
    assert console.change_user("ADA", role="viewer")
    assert console.change_user("ada", password_hash="other")
    found = console.user("ada")
    assert found is not None
    assert (found.epoch, found.role, found.password_hash) == (10, "viewer", "other")
    assert not console.change_user("nobody")


def test_a_user_takes_their_tokens_along(journal: Journal) -> None:
    console = ConsoleStore(journal)
    for name in ("ada", "otto"):
        console.add_user(name, "admin", "hash", 1.0)
    for name in ("ada", "otto"):
        console.add_token(TokenRecord(f"id-{name}", "job", "viewer", name, 1.0, None), f"hash-{name}")
    assert console.remove_user("ADA", 5.0)
    assert not console.remove_user("ada", 6.0)
    assert console.token("hash-ada") is None
    assert console.token("hash-otto") is not None
    assert {token.token_id: token.revoked_at for token in console.tokens()} == {"id-ada": 5.0, "id-otto": None}


def test_a_token_is_revoked_once_and_for_good(journal: Journal) -> None:
    console = ConsoleStore(journal)
    console.add_token(TokenRecord("id", "job", "viewer", "ada", 1.0, None), "hash")
    assert console.revoke_token("id", 2.0)
    assert not console.revoke_token("id", 3.0)
    assert console.token("hash") is None


def test_the_audit_table_keeps_everything_in_order(journal: Journal) -> None:
    console = ConsoleStore(journal)
    records = [AuditRecord(float(number), "ada", "127.0.0.1", "run started", str(number), "") for number in range(1100)]
    with journal.database.write() as connection:  # in one transaction; `add_audit_entry` makes one for each
        connection.execute(insert(audit), [asdict(each) for each in records[:1080]])
    for each in records[1080:]:
        console.add_audit_entry(each)
    page, total = console.audit_page(10, 5)
    assert total == 1100
    assert [entry.subject for entry in page] == ["1089", "1088", "1087", "1086", "1085"]
    assert [entry.subject for entry in console.audit_entries()] == [str(number) for number in range(1100)]


def session(name: str, user: str = "ada", epoch: int = 7, seen_at: float = 1.0) -> SessionRecord:
    return SessionRecord(name, user, epoch, "192.0.2.1", 1.0, seen_at)


def console_of(journal: Journal) -> ConsoleStore:
    epochs = iter(range(7, 1000, 100))
    return ConsoleStore(journal, random_bits=lambda _bits: next(epochs))


def test_a_change_and_its_entry_of_the_audit_log_are_kept_together_or_not_at_all(journal: Journal) -> None:
    console, store = console_of(journal), SessionStore(journal)
    kept: list[str] = []

    def entry(action: str) -> AuditRecord:
        return AuditRecord(1.0, "ada", "192.0.2.1", action, "", "")

    def expect(*, done: object, action: str) -> None:
        kept.extend([action] if done else [])
        assert [each.action for each in console.audit_entries()] == kept

    def token(owner: str) -> bool:
        try:
            record = TokenRecord("id", "job", "viewer", owner, 1.0, None)
            console.add_token(record, "token", entry=entry(f"token of {owner}"))
        except UsageError:
            return False
        return True

    console.add_user("ada", "admin", "hash", 1.0, entry=entry("added"))
    expect(done=True, action="added")
    with pytest.raises(UsageError, match="already"):
        console.add_user("ada", "admin", "hash", 1.0, entry=entry("added again"))
    expect(done=token("otto"), action="token of otto")
    expect(done=token("ada"), action="token of ada")
    for number in range(2):
        revoked = console.revoke_token("id", 2.0, entry=entry(f"revoked {number}"))
        expect(done=revoked, action=f"revoked {number}")
        begun = store.begin(session("a", epoch=7 + number), entry("begun"))
        expect(done=begun, action="begun")
        expect(done=store.end(["a"], entry(f"ended {number}")), action=f"ended {number}")
        expect(done=store.end_all("ada", 7, entry(f"all {number}")), action=f"all {number}")
        changed = console.change_user("ada", role="viewer", epoch=7, entry=entry(f"changed {number}"))
        expect(done=changed, action=f"changed {number}")
    for number in range(2):
        removed = console.remove_user("ada", 3.0, entry=entry(f"removed {number}"))
        expect(done=removed, action=f"removed {number}")
    expect(done=console.change_user("ada", role="viewer", entry=entry("changed")), action="changed")
    assert kept == [
        "added",
        "token of ada",
        "revoked 0",
        "begun",
        "ended 0",
        "changed 0",
        "begun",
        "ended 1",
        "removed 0",
    ]


@pytest.mark.parametrize(
    ("name", "typed"),
    [("ÅDÅ", "ådå"), ("ada", "  ADA "), ("Jürgen", "JU\u0308RGEN"), ("\u212aurt", "kurt"), ("ﬁona", "Fiona")],
)
def test_a_removed_user_has_neither_tokens_nor_sessions_however_the_name_is_typed(
    journal: Journal, name: str, typed: str
) -> None:
    console, store = console_of(journal), SessionStore(journal)
    console.add_user(name, "admin", "hash", 1.0)
    console.add_token(TokenRecord("id", "job", "viewer", name, 1.0, None), "token")
    assert store.begin(session("a", user_key(name)))
    assert console.remove_user(typed, 5.0)
    assert console.token("token") is None
    assert store.find("a") is None
    console.add_user(name, "admin", "hash", 6.0)
    assert console.token("token") is None
    assert store.find("a") is None
    assert not store.begin(session("b", user_key(name)))  # the password was right before the user was removed


def test_a_token_may_do_what_its_owner_may_at_present(journal: Journal) -> None:
    console = ConsoleStore(journal)
    console.add_user("Ådå", "admin", "hash", 1.0)
    console.add_token(TokenRecord("id", "job", "operator", "Ådå", 1.0, None), "token")
    console.change_user("ådå", role="viewer")
    found = console.token("token")
    assert found is not None
    assert (found.role, found.owner_role) == ("operator", "viewer")
    assert [token.owner_role for token in console.tokens()] == ["viewer"]


def test_no_token_is_issued_for_a_user_who_has_been_removed(journal: Journal) -> None:
    console = ConsoleStore(journal)
    console.add_user("ada", "admin", "hash", 1.0)
    with pytest.raises(UsageError, match="no token was issued"):
        console.add_token(TokenRecord("id", "job", "viewer", "otto", 1.0, None), "token")
    assert console.tokens() == []


def test_the_first_user_ends_the_tokens_and_sessions_of_a_console_without_users(journal: Journal) -> None:
    console, store = ConsoleStore(journal), SessionStore(journal)
    console.add_token(TokenRecord("id", "job", "viewer", "ada", 1.0, None), "token")
    assert store.begin(session("local", ""))
    assert store.find("local") is not None
    assert console.token("token") is not None
    console.add_user("ada", "admin", "hash", 5.0)
    assert store.find("local") is None
    assert console.token("token") is None
    assert console.tokens()[0].revoked_at == 5.0
    assert not store.begin(session("again", ""))
    console.remove_user("ada", 6.0)
    assert console.token("token") is None


def test_changes_of_a_user_end_the_user_s_sessions_and_no_others(journal: Journal) -> None:
    console, store = ConsoleStore(journal, random_bits=lambda _bits: 7), SessionStore(journal)
    console.add_user("ada", "admin", "hash", 1.0)
    console.add_user("otto", "viewer", "hash", 1.0)
    assert store.begin(session("otto's", "otto"))
    for number, change in enumerate(({}, {"role": "viewer"}, {"password_hash": "other"})):
        assert store.begin(session("ada's", epoch=7 + number))
        found = store.find("ada's")
        assert found is not None
        assert found.user is not None
        assert found.user.name == "ada"
        console.change_user("ada", **change)  # type: ignore[arg-type]
        assert store.find("ada's") is None
    assert store.find("otto's") is not None


def test_sessions_are_listed_ended_and_dropped_when_their_time_is_over(journal: Journal) -> None:
    console, store = ConsoleStore(journal, random_bits=lambda _bits: 7), SessionStore(journal)
    console.add_user("ada", "admin", "hash", 1.0)
    for name, seen_at in (("a", 1.0), ("b", 50.0), ("c", 90.0)):
        assert store.begin(session(name, seen_at=seen_at))
    store.touch("a", 80.0)
    store.drop_expired(created_before=0.5, seen_before=50.0)
    assert {found.session_hash for found in store.of_user("ada", 7)} == {"a", "c"}
    assert store.end(["a"])
    assert not store.end(["a"])
    assert not store.end_all("ada", 8)
    assert store.find("c") is not None
    assert store.end_all("ada", 7)
    assert store.of_user("ada", 7) == []


def test_a_token_of_a_console_without_users_is_not_valid_while_there_are_users(journal: Journal) -> None:
    console = ConsoleStore(journal)
    console.add_token(TokenRecord("t1", "job", "admin", "ada", 0.0, None), "hash")
    assert console.token("hash") is not None
    console.add_user("ada", "admin", "hash of ada", 1.0)
    with journal.database.write() as connection:  # as if it had been issued at that very moment
        connection.execute(update(tokens).values(revoked_at=None))
    assert console.token("hash") is None


# --- from version 4


def drop_columns_of_version_10(connection: Connection) -> None:
    """Put the table of dropped files back to version 9."""
    for column in ("base_url", "organization_id"):
        connection.exec_driver_sql(f"ALTER TABLE taken_files DROP COLUMN {column}")


def write_version_4(place: Place, people: list[tuple[str, float]], issued: list[tuple[str, str, float]]) -> None:
    """Put the tables back to version 4, with console users (name, added at) and tokens (id, owner, issued at)."""
    with place.open() as journal, journal.database.write() as connection:
        for name in ("sessions", "tokens", "users", "audit"):
            connection.exec_driver_sql(f"DROP TABLE console_{name}")
        connection.exec_driver_sql("DROP TABLE group_refusals")
        connection.exec_driver_sql("DROP TABLE planned_changes")
        connection.exec_driver_sql("DROP TABLE packed_items")
        drop_columns_of_version_10(connection)
        STEPS[4](connection)
        for name, at in people:
            values = {"name": name, "role": "admin", "password_hash": f"hash of {name}", "epoch": 1, "created_at": at}
            connection.execute(insert(users).values(key=name.strip().casefold(), **values))
        for token_id, owner, at in issued:
            values = {"token_id": token_id, "name": "job", "role": "viewer", "owner": owner, "created_at": at}
            connection.execute(insert(tokens).values(token_hash=f"hash of {token_id}", **values))
        connection.execute(update(schema_version).values(version=4))


def test_users_and_tokens_of_version_4_go_on(place: Place) -> None:
    write_version_4(place, [("Jürgen", 1.0), ("ﬁona", 2.0)], [("t1", "Jürgen", 3.0), ("t2", "ﬁona", 3.0)])
    with place.open() as journal:
        console = ConsoleStore(journal)
        assert [(user.name, user.password_hash) for user in console.users()] == [
            ("ﬁona", "hash of ﬁona"),
            ("Jürgen", "hash of Jürgen"),
        ]
        assert len({user.epoch for user in console.users()}) == 2
        assert console.user("FIONA") is not None
        assert {token.owner_key for token in console.tokens()} == {"jürgen", "fiona"}
        assert console.token("hash of t1") is not None
        console.remove_user("fiona", 9.0)
        assert console.token("hash of t2") is None
        assert console.audit_page(0, 10) == ([], 0)


def test_users_of_version_4_whose_names_are_one_now_all_stay_and_the_younger_ones_are_renamed(place: Place) -> None:
    people = [("\uff41da", 3.0), ("ada", 2.0), ("ada (2)", 4.0), ("otto", 1.0)]
    write_version_4(place, people, [("t1", "\uff41da", 5.0), ("t2", "ada", 5.0)])
    with place.open() as journal:
        console = ConsoleStore(journal)
        found = {user.name: user.password_hash for user in console.users()}
        assert found == {
            "ada": "hash of ada",
            "ada (2)": "hash of ada (2)",
            "\uff41da (3)": "hash of \uff41da",
            "otto": "hash of otto",
        }
        assert {token.token_id: token.owner_key for token in console.tokens()} == {"t1": "ada (3)", "t2": "ada"}
        (entry,), _ = console.audit_page(0, 10)
        assert (entry.actor, entry.action, entry.subject) == ("bulkid", "user renamed", "\uff41da")
        assert "now \uff41da (3)" in entry.detail


def test_tokens_that_outlived_their_owner_in_version_4_are_revoked(place: Place) -> None:
    people = [("Jürgen", 10.0)]
    write_version_4(place, people, [("old", "Jürgen", 5.0), ("removed", "Åsa", 12.0), ("live", "Jürgen", 11.0)])
    with place.open() as journal:
        console = ConsoleStore(journal)
        assert {token.token_id for token in console.tokens() if token.revoked_at is None} == {"live"}
        assert console.token("hash of live") is not None
        entries, _ = console.audit_page(0, 10)
        assert {(entry.action, entry.subject) for entry in entries} == {
            ("token revoked", "old"),
            ("token revoked", "removed"),
        }


def test_tokens_of_a_console_without_users_go_on_in_version_5(place: Place) -> None:
    write_version_4(place, [], [("t1", "ada", 5.0)])
    with place.open() as journal:
        assert ConsoleStore(journal).token("hash of t1") is not None


def test_tokens_of_version_7_go_on_without_an_end(place: Place) -> None:
    record = TokenRecord("t1", "job", "viewer", "ada", 5.0, None)
    with place.open() as journal:
        ConsoleStore(journal).add_user("ada", "admin", "hash", 1.0)
        ConsoleStore(journal).add_token(record, "hash of t1")
        with journal.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE console_tokens DROP COLUMN expires_at")
            connection.exec_driver_sql("DROP TABLE packed_items")
            drop_columns_of_version_10(connection)
            connection.execute(update(schema_version).values(version=7))
    with place.open() as journal:
        console = ConsoleStore(journal)
        before = console.token("hash of t1")
        assert before is not None
        assert (before.name, before.expires_at) == ("job", None)
        console.add_token(replace(record, token_id="t2", expires_at=1.8e9 + 0.25), "hash of t2")
    with place.open() as journal:
        found = {token.token_id: token.expires_at for token in ConsoleStore(journal).tokens()}
        assert found == {"t1": None, "t2": 1.8e9 + 0.25}


def test_old_entries_of_the_audit_table_go_and_so_do_those_beyond_the_most(journal: Journal) -> None:
    console = ConsoleStore(journal)
    for number in range(10):
        console.add_audit_entry(AuditRecord(float(number), "ada", "127.0.0.1", "run started", str(number), ""))
    assert console.prune_audit(3.0, 100) == 3
    assert [entry.subject for entry in console.audit_entries()] == ["3", "4", "5", "6", "7", "8", "9"]
    assert console.prune_audit(3.0, 4) == 3
    assert [entry.subject for entry in console.audit_entries()] == ["6", "7", "8", "9"]
    assert console.prune_audit(0.0, 4) == 0
