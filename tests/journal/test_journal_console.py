"""The console's book: users, tokens and the audit table, kept beside the runs."""

import pytest

from bulkid.errors import UsageError
from bulkid.journal import Journal
from bulkid.journal.console import AuditRecord, ConsoleBook, TokenRecord


def test_names_of_users_compare_without_regard_to_case(journal: Journal) -> None:
    book = ConsoleBook(journal)
    book.add_user("Ådá", "admin", "hash", 1.0)
    with pytest.raises(UsageError, match="already"):
        book.add_user("ÅDÁ", "viewer", "hash", 2.0)
    found = book.user("ådá")
    assert found is not None
    assert (found.name, found.role, found.epoch) == ("Ådá", "admin", 1)
    assert book.user("ada") is None


def test_every_change_of_a_user_ends_the_sessions_there_are(journal: Journal) -> None:
    book = ConsoleBook(journal)
    book.add_user("ada", "admin", "hash", 1.0)
    assert book.change_user("ada")
    assert book.change_user("ADA", role="viewer")
    assert book.change_user("ada", password_hash="other")
    found = book.user("ada")
    assert found is not None
    assert (found.epoch, found.role, found.password_hash) == (4, "viewer", "other")
    assert not book.change_user("nobody")


def test_a_user_takes_their_tokens_along(journal: Journal) -> None:
    book = ConsoleBook(journal)
    for name in ("ada", "otto"):
        book.add_user(name, "admin", "hash", 1.0)
        book.add_token(TokenRecord(f"id-{name}", "job", "viewer", name, 1.0, None), f"hash-{name}")
    assert book.remove_user("ADA", 5.0)
    assert not book.remove_user("ada", 6.0)
    assert book.token("hash-ada") is None
    assert book.token("hash-otto") is not None
    assert {token.token_id: token.revoked_at for token in book.tokens()} == {"id-ada": 5.0, "id-otto": None}


def test_a_token_is_revoked_once_and_for_good(journal: Journal) -> None:
    book = ConsoleBook(journal)
    book.add_token(TokenRecord("id", "job", "viewer", "ada", 1.0, None), "hash")
    assert book.revoke_token("id", 2.0)
    assert not book.revoke_token("id", 3.0)
    assert book.token("hash") is None


def test_the_audit_table_keeps_everything_in_order(journal: Journal) -> None:
    book = ConsoleBook(journal)
    for number in range(1100):
        book.note(AuditRecord(float(number), "ada", "127.0.0.1", "run started", str(number), ""))
    page, total = book.audit_page(10, 5)
    assert total == 1100
    assert [entry.subject for entry in page] == ["1089", "1088", "1087", "1086", "1085"]
    assert [entry.subject for entry in book.audit_entries()] == [str(number) for number in range(1100)]
