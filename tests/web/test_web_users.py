"""Users: signing in, roles, approval, API tokens, and the audit log."""

import csv
import io
from pathlib import Path

import anyio
import pytest
from argon2 import Type
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from bulkid import runs
from bulkid.errors import UsageError
from bulkid.journal.console_store import ConsoleStore, SessionStore
from bulkid.web.auth import passwords
from bulkid.web.auth.access import Principal, Role
from bulkid.web.auth.passwords import hash_password, is_right, require_good_password
from bulkid.web.auth.throttle import AttemptCounter, Throttle, device_of, network_of, new_device_cookie
from bulkid.web.auth.users import SignInError, UserAuthenticator, issue_token
from bulkid.web.console import ServeOptions
from bulkid.web.middleware import forwarded_address
from bulkid.web.server import ROUTES, make_app
from tests.support.web_console import World, browser_at, run_id_of, sheet, world
from tests.support.web_users import HASH, PASSWORD, add_users, sign_in, signed_in, team


async def test_users_sign_in_and_go_on_to_what_they_wanted(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        page = await console.browser.get("/runs?show=open")
        assert page.status == 401
        assert 'value="/runs?show=open"' in page.text
        page = await sign_in(console.browser, "Olaf", onward="/runs?show=open")
        assert page.status == 200
        assert page.url.endswith("/runs?show=open")


@pytest.mark.parametrize(
    ("sent", "page"),
    [
        ("/sheets/0123456789abcdef/start", "/sheets/0123456789abcdef/preview"),
        ("/sheets/0123456789abcdef/reject", "/sheets/0123456789abcdef/preview"),
        ("/sheets/0123456789abcdef", "/sheets/0123456789abcdef"),
        ("/runs/20260101-000000-aaaa/undo", "/runs/20260101-000000-aaaa"),
        ("/account/sessions/end", "/account"),
        ("/tokens", "/tokens"),
        ("/export", "/"),
    ],
)
async def test_a_form_that_is_sent_after_the_session_has_ended_leads_back_to_its_page(
    tmp_path: Path, sent: str, page: str
) -> None:
    async with team(tmp_path) as console:
        answer = await console.browser.post(sent)
        assert answer.status == 401
        assert "Your session has ended: nothing was done. Sign in, and send the form again." in answer.text
        assert f'name="next" value="{page}"' in answer.text
        assert "Your session has ended" not in (await console.browser.get("/runs")).text


async def test_the_address_of_a_form_opens_the_page_of_the_form(console: World) -> None:
    """A refused form leaves its address in the browser, which opens it again with a saved tab."""
    path = await console.browser.preview("accounts.csv", sheet(2))
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    pages = {route.path for route in ROUTES if route.method == "GET"}
    forms = [route.path for route in ROUTES if route.method == "POST" and route.path not in pages]
    values = {"{upload}": path.rpartition("/")[2], "{run}": run_id, "{token}": "none"}
    opened = [form for form in forms if not form.startswith("/api/")]
    assert len(opened) > 15
    for form in opened:
        address = form
        for name, value in values.items():
            address = address.replace(name, value)
        assert (await console.browser.get(address)).status == 200, form


@pytest.mark.parametrize("onward", ["//evil.example/", "https://evil.example/", "/\\evil.example", "/\x7f"])
async def test_signing_in_leads_to_no_other_site(tmp_path: Path, onward: str) -> None:
    async with team(tmp_path) as console:
        page = await console.browser.post(
            "/signin", {"name": "olaf", "password": PASSWORD, "next": onward}, allow_redirects=False
        )
        assert page.headers["Location"] == "/"


@pytest.mark.parametrize(
    ("name", "password"), [("olaf", "wrong"), ("nobody", PASSWORD), ("", ""), ("olaf", "x" * 5000)]
)
async def test_a_wrong_name_and_a_wrong_password_are_reported_alike(tmp_path: Path, name: str, password: str) -> None:
    async with team(tmp_path) as console:
        page = await sign_in(console.browser, name, password)
        assert page.status == 401
        assert "Name or password are wrong." in page.text
        assert (await console.browser.get("/runs")).status == 401


async def test_guessing_is_throttled_for_the_user_at_that_address(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        for _ in range(5):
            assert (await sign_in(console.browser, "olaf", "wrong")).status == 401
        page = await sign_in(console.browser, "OLAF")  # the right one, too
        assert page.status == 429
        assert int(page.headers["Retry-After"]) > 200
        assert (await sign_in(console.browser, "ada")).status == 200  # others are not locked out


async def test_many_users_of_one_address_sign_in_at_once(tmp_path: Path) -> None:
    names = [f"user {number}" for number in range(50)]
    add_users(tmp_path, dict.fromkeys(names, "viewer"))
    statuses = []
    async with team(tmp_path) as console:

        async def enter(name: str) -> None:
            async with browser_at(console.browser.base) as browser:
                statuses.append((await sign_in(browser, name)).status)

        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(enter, name)
    assert statuses == [200] * len(names)


async def test_guesses_that_come_all_at_once_are_throttled_too(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        found: list[int] = []

        async def guess() -> None:
            found.append((await sign_in(console.browser, "olaf", "wrong")).status)

        async with anyio.create_task_group() as tasks:
            for _ in range(15):
                tasks.start_soon(guess)
        assert found.count(401) == 5
        assert found.count(429) == 10


def test_a_right_password_clears_the_user_there_but_not_the_address() -> None:
    throttle = Throttle(lambda: 0.0, AttemptCounter(3, 300.0), AttemptCounter(4, 300.0))
    for _ in range(3):
        throttle.record_attempt("ada", "a")
    assert throttle.wait("ada", "a") > 0
    throttle.record_success("ada", "a")
    assert throttle.wait("ada", "a") == 0.0
    for _ in range(2):
        throttle.record_attempt("otto", "a")
    assert throttle.wait("vera", "a") > 0


def test_a_throttle_opens_again_and_holds_over_all_names_of_an_address() -> None:
    now = 0.0
    throttle = Throttle(lambda: now, AttemptCounter(3, 300.0), AttemptCounter(6, 300.0))
    for number in range(6):
        assert throttle.wait(f"user {number}", "a") == 0.0
        throttle.record_attempt(f"user {number}", "a")
    assert throttle.wait("another", "a") == 300.0
    assert throttle.wait("another", "b") == 0.0
    now = 299.0
    assert throttle.wait("another", "a") == 1.0
    now = 300.0
    assert throttle.wait("another", "a") == 0.0


def test_a_throttle_forgets_the_oldest_and_does_not_grow_for_ever() -> None:
    throttle = Throttle(lambda: 0.0, AttemptCounter(5, 300.0, 30), AttemptCounter(20, 300.0, 30))
    for number in range(1000):
        throttle.record_attempt(f"user {number}", f"address {number}")
    assert len(throttle.pairs._attempts) == len(throttle.addresses._attempts) == 30
    for number in range(20_000):
        throttle.record_attempt(f"user {number}", "192.0.2.1", f"device {number}")
    assert len(throttle.devices._attempts) == 10_000


async def test_attempts_with_names_of_no_user_make_no_room_for_more_guesses_of_a_password(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        authenticator = console.console.authenticator
        assert isinstance(authenticator, UserAuthenticator)
        throttle = authenticator.throttle
        throttle.users.max_keys = 10
        for number in range(100):
            throttle.record_attempt("olaf", f"10.0.0.{number}")
        for number in range(11):
            with pytest.raises(SignInError, match="wrong"):
                await authenticator.sign_in(f"nobody {number}", "guess", f"10.0.1.{number}")
        with pytest.raises(SignInError, match="Too many"):
            await authenticator.sign_in("olaf", "guess", "10.0.2.1")


def test_a_name_that_no_user_has_is_throttled_like_one_of_a_user() -> None:
    throttle = Throttle(lambda: 0.0)
    for is_known in (False, True):
        for number in range(100):
            assert throttle.wait("ada", "10.0.2.1", is_known=is_known) == 0.0
            throttle.record_attempt("ada", f"10.0.0.{number}", is_known=is_known)
        assert throttle.wait("ada", "10.0.2.1", is_known=is_known) == 3600.0


def test_passwords_are_kept_as_salted_hashes_and_have_a_least_length() -> None:
    assert HASH.startswith("$argon2id$")
    assert hash_password(PASSWORD) != HASH
    assert is_right(HASH, PASSWORD)
    assert not is_right(HASH, PASSWORD + " ")
    assert not is_right("nonsense", PASSWORD)
    for invalid in ("", "short", "x" * (passwords.MAX_LENGTH + 1)):
        with pytest.raises(UsageError):
            hash_password(invalid)


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("elevenchars", "12 to 200 characters"),
        ("password1234", "common"),
        ("qwertyuiop12", "common"),
        ("a" * 200, "common"),
        ("olaf.hansen1", "too close"),
        ("HANSEN-hansen", "too close"),
        ("Olaf2026!bulkid", "too close"),
        ("bulkid bulkid bulkid", "too close"),
    ],
)
def test_a_password_that_is_short_common_or_close_to_the_name_is_refused(password: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        require_good_password(password, "Olaf.Hansen")
    assert password not in str(refused.value)


@pytest.mark.parametrize("password", [PASSWORD, "vqkzjwhxmtpy", "äöü 東京 plain zebra", "olaf reads seventeen atlases"])
def test_a_password_may_hold_any_characters(password: str) -> None:
    require_good_password(password, "Olaf.Hansen")


def test_zxcvbn_gets_at_most_72_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    import zxcvbn

    seen: list[str] = []

    def estimate(password: str, user_inputs: list[str]) -> dict[str, int]:
        seen.append(password)
        assert "bulkid" in user_inputs
        return {"score": 4}

    monkeypatch.setattr(zxcvbn, "zxcvbn", estimate)
    require_good_password("correct horse battery " * 9, "olaf")
    assert [len(each) for each in seen] == [72]


def test_a_hash_of_a_shorter_password_keeps_working() -> None:
    assert is_right(passwords.HASHER.hash("ten chars!"), "ten chars!")


async def test_the_console_hashes_at_the_costs_of_rfc_9106_s_second_choice(tmp_path: Path) -> None:
    hasher = ServeOptions().hasher
    assert (hasher.type, hasher.memory_cost, hasher.time_cost, hasher.parallelism) == (Type.ID, 64 * 1024, 3, 4)
    async with team(tmp_path, hasher=hasher) as console, signed_in(console, "olaf") as olaf:
        assert console.console.authenticator.hasher is hasher
        await olaf.get("/account")
        form = {"current": PASSWORD, "new": "seventeen quiet atlases", "again": "seventeen quiet atlases"}
        assert (await olaf.post("/account/password", form)).status == 200
        stored = console.console.store.user("olaf").password_hash
        assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        assert (await sign_in(olaf, "olaf", "seventeen quiet atlases")).status == 200
        assert console.console.authenticator._dummy_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


OWN_ACCOUNT = {"/account/password", "/account/sessions/end"}
"""What every user may change: it is theirs alone."""


async def test_a_viewer_can_change_nothing(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "vera") as vera, signed_in(console, "olaf") as olaf:
        path = await olaf.preview("accounts.csv", sheet(2))
        await olaf.preview_page(path)
        assert (await vera.get(f"{path}/preview")).status == 200
        assert 'name="preview"' not in (await vera.get(f"{path}/preview")).text
        app = make_app(console.console)
        refused_count = 0
        for route in app.router.routes():
            pattern = route.resource.canonical if route.resource is not None else ""
            if route.method != "POST" or pattern.startswith(("/api/", "/sign", "/export")) or pattern in OWN_ACCOUNT:
                continue
            address = pattern.replace("{upload}", path.rsplit("/", 1)[1]).replace("{run}", "x").replace("{token}", "x")
            assert (await vera.post(address)).status == 403, pattern
            refused_count += 1
        assert refused_count > 10
        for each in ("/tokens", "/audit", "/audit.csv", "/template.csv"):
            assert (await vera.get(each)).status == 403
            assert (await olaf.get(each)).status == (200 if each == "/template.csv" else 403)


async def test_who_uploaded_a_sheet_cannot_start_it_where_approval_is_required(tmp_path: Path) -> None:
    async with (
        team(tmp_path, require_approval=True) as console,
        signed_in(console, "olaf") as olaf,
        signed_in(console, "otto") as otto,
    ):
        path = await olaf.preview("accounts.csv", sheet(2))
        seen = await otto.preview_page(path)
        token = seen.text.split('name="preview" value="')[1].split('"')[0]
        own = await olaf.preview_page(path)
        assert "Someone other than the uploader must approve this" in own.text
        refused = await olaf.post(f"{path}/start", {"preview": token})
        assert refused.status == 403
        assert runs.list_runs(console.console.state_dir) == []
        run_id = run_id_of(await otto.start(path))
        assert "2 updated" in (await otto.run_ended(run_id)).text


async def test_who_says_how_a_sheet_is_read_counts_as_its_author_too(tmp_path: Path) -> None:
    async with (
        team(tmp_path, require_approval=True) as console,
        signed_in(console, "olaf") as olaf,
        signed_in(console, "otto") as otto,
    ):
        path = await olaf.preview("accounts.csv", b"Who,What\nrobot-0001,x\n")
        await otto.post(path, {"field-0": "name", "field-1": "display_name"})
        await otto.post(f"{path}/preview")
        assert "Someone other than the uploader must approve this" in (await otto.preview_page(path)).text


async def test_a_token_does_not_help_its_owner_past_the_approval(tmp_path: Path) -> None:
    async with team(tmp_path, require_approval=True) as console, signed_in(console, "ada") as ada:
        token = issue_token(console.console.store, "job", Role.OPERATOR, Principal("ada", Role.ADMIN, "ada"), 0.0)
        path = await ada.preview("accounts.csv", sheet(2))
        await ada.preview_page(path)
        headers = {"Authorization": f"Bearer {token}"}
        address = f"{ada.base}/api/v1{path}"
        async with ada.session.get(f"{address}/preview", headers=headers) as answer:
            preview = (await answer.json())["preview"]
        async with ada.session.post(f"{address}/start", headers=headers, json={"preview": preview}) as answer:
            assert answer.status == 403


async def test_approval_without_users_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no other operator"):
        async with world(tmp_path, serve=ServeOptions(port=0, require_approval=True)):
            pass


async def test_a_new_password_a_new_role_and_signing_out_everywhere_end_sessions_at_once(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        store = console.console.store
        async with signed_in(console, "olaf") as olaf:
            store.change_user("olaf", password_hash=HASH)
            assert (await olaf.get("/runs")).status == 401
        async with signed_in(console, "olaf") as olaf:
            store.change_user("olaf", role="viewer")
            assert (await olaf.get("/runs")).status == 401
        async with signed_in(console, "olaf") as olaf, signed_in(console, "olaf") as elsewhere:
            await olaf.get("/")
            await olaf.post("/signout-everywhere", {"current": PASSWORD})
            assert (await elsewhere.get("/runs")).status == 401
        async with signed_in(console, "ada") as ada:
            store.remove_user("ada", 1.0)
            assert (await ada.get("/runs")).status == 401


async def test_links_open_nothing_where_there_are_users(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        assert (await ada.post("/account/link")).status == 404
        assert (await console.browser.get("/enter?key=x")).status == 401


async def test_everything_that_is_done_is_in_the_audit_table_and_can_be_taken_along(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        await sign_in(console.browser, "=cmd", "wrong")
        path = await ada.preview("accounts.csv", sheet(2))
        run_id = run_id_of(await ada.start(path))
        await ada.run_ended(run_id)
        await ada.post(f"/runs/{run_id}/undo")
        await ada.get("/tokens")
        issued = await ada.post("/tokens", {"name": "nightly", "role": "viewer", "current": PASSWORD})
        token_id = console.console.store.tokens()[0].token_id
        assert "bulkid_" in issued.text
        await ada.post(f"/tokens/{token_id}/revoke")
        page = await ada.get("/audit")
        rows = list(csv.DictReader(io.StringIO((await ada.get("/audit.csv")).body.decode("utf-8-sig"))))
        done = [(row["actor"], row["action"]) for row in rows]
        for action in (
            "signed in",
            "sheet uploaded",
            "preview made",
            "run started",
            "undo previewed",
            "token issued",
            "token revoked",
        ):
            assert ("ada", action) in done
            assert action in page.text
        assert ("'=cmd", "sign-in refused") in done
        assert all(row["address"] == "127.0.0.1" for row in rows)
        assert PASSWORD not in page.text


async def test_a_name_with_line_breaks_forges_no_entry_of_the_audit_log(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        await sign_in(console.browser, "x\r\n2026-01-01T00:00:00Z,ada,10.0.0.1,plan approved,\x1b[2J\u202e", "wrong")
        text = (await ada.get("/audit.csv")).body.decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert len(text.splitlines()) == len(rows)
        assert all(letter.isprintable() for row in rows for cell in row for letter in cell)
        assert any("plan approved" in row[1] and row[3] == "sign-in refused" for row in rows)
        assert "\u202e" not in (await ada.get("/audit")).text


async def test_a_run_in_the_history_names_the_user_who_began_it(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "otto") as otto:
        path = await otto.preview("accounts.csv", sheet(2))
        await otto.run_ended(run_id_of(await otto.start(path)))
        ((record, _),) = runs.list_runs(console.console.state_dir)
        assert record.user == "otto"


async def test_behind_a_proxy_the_last_hop_says_who_asks_and_the_cookie_is_for_tls_alone(tmp_path: Path) -> None:
    with runs.RunBrowser(tmp_path / "state") as run_browser:
        ConsoleStore(run_browser.journal).add_user("ada", "admin", HASH, 0.0)
    serve = ServeOptions(port=0, behind_proxy=True, public_names=("bulkid.example.com",))
    async with world(tmp_path, serve=serve) as console:
        headers = {
            "Host": "bulkid.example.com",
            "Origin": "https://bulkid.example.com",
            "X-Forwarded-For": "6.6.6.6, 192.0.2.7",
        }
        page = await console.browser.post(
            "/signin", {"name": "ada", "password": PASSWORD}, headers=headers, allow_redirects=False
        )
        assert page.status == 303
        assert page.headers["Set-Cookie"].startswith("__Host-bulkid=")
        assert "Secure" in page.headers["Set-Cookie"]
        assert console.console.store.audit_page(0, 1)[0][0].address == "192.0.2.7"
        assert (
            await console.browser.get("/", headers={"Host": f"127.0.0.1:{console.console.serve.port}"})
        ).status == 421


async def test_a_reader_of_the_database_finds_neither_passwords_nor_tokens(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        token = issue_token(console.console.store, "job", Role.VIEWER, Principal("ada", Role.ADMIN, "ada"), 0.0)
    content = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir() if path.is_file())
    assert token.encode() not in content
    assert PASSWORD.encode() not in content
    assert b"$argon2id$" in content


# --- guessing passwords


@pytest.mark.parametrize("name", ["OLAF", " olaf", "olaf\t", "\uff2flaf", "olaf "])
async def test_another_spelling_of_the_name_does_not_get_round_the_throttle(tmp_path: Path, name: str) -> None:
    async with team(tmp_path) as console:
        for _ in range(5):
            assert (await sign_in(console.browser, "olaf", "wrong")).status == 401
        assert (await sign_in(console.browser, name, "wrong")).status == 429


async def test_a_forged_address_does_not_get_round_the_throttle_and_is_not_written_down(tmp_path: Path) -> None:
    serve = ServeOptions(port=0, behind_proxy=True, public_names=("bulkid.example.com",))
    async with team(tmp_path, serve=serve) as console:
        found = []
        for number in range(6):
            headers = CIMultiDict(
                [
                    ("Host", "bulkid.example.com"),
                    ("Origin", "https://bulkid.example.com"),
                    ("X-Forwarded-For", f"6.6.6.{number}"),  # the client's own line
                    ("X-Forwarded-For", f"7.7.7.{number}, 192.0.2.7"),  # its second one, to which the proxy adds
                ]
            )
            form = {"name": "olaf", "password": "wrong"}
            async with console.browser.session.post(
                f"{console.browser.base}/signin", data=form, headers=headers
            ) as answer:
                found.append(answer.status)
        assert found == [401, 401, 401, 401, 401, 429]
        entries, _ = console.console.store.audit_page(0, 10)
        assert {entry.address for entry in entries} == {"192.0.2.7"}


async def test_without_a_proxy_the_header_counts_for_nothing(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        headers = {"Origin": console.browser.base, "X-Forwarded-For": "6.6.6.6"}
        await console.browser.post("/signin", {"name": "olaf", "password": "wrong"}, headers=headers)
        assert console.console.store.audit_page(0, 1)[0][0].address == "127.0.0.1"


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([], ""),
        (["6.6.6.6"], "6.6.6.6"),
        (["6.6.6.6, 192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 6.6.6.6", "192.0.2.8"], "192.0.2.8"),
        (["6.6.6.6", ""], ""),
        (["6.6.6.6, "], ""),
        (["192.0.2.7:4711"], "192.0.2.7"),
        (["2001:DB8::1"], "2001:db8::1"),
        (["6.6.6.6, [2001:db8::1]:443"], "2001:db8::1"),
        (["unknown"], ""),
        (["\x1b[31m"], ""),
        (["_hidden, 1.2.3.4.5"], ""),
    ],
)
def test_the_last_address_of_the_last_line_is_the_proxy_s_word(lines: list[str], address: str) -> None:
    assert forwarded_address(lines) == address


def test_an_ipv6_network_counts_as_one_address() -> None:
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9") != network_of("2001:db8:1:3::1")
    assert network_of("::ffff:192.0.2.7") == network_of("192.0.2.7") != network_of("192.0.2.8")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth1")
    assert network_of("elsewhere") == "elsewhere"


async def test_wrong_passwords_from_everywhere_do_not_lock_a_user_out_of_a_known_browser(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        authenticator = console.console.authenticator
        assert isinstance(authenticator, UserAuthenticator)
        async with signed_in(console, "olaf") as known, browser_at(console.browser.base) as unknown:
            for number in range(authenticator.throttle.users.limit):
                authenticator.throttle.record_attempt("olaf", f"10.0.0.{number}")
            for _ in range(5):
                authenticator.throttle.record_attempt("olaf", "127.0.0.1")  # another client behind the same address
            assert (await sign_in(unknown, "olaf")).status == 429
            await known.post("/signout")
            for _ in range(4):
                assert (await sign_in(known, "olaf", "wrong")).status == 401
            assert (await sign_in(known, "olaf")).status == 200
            for _ in range(5):
                assert (await sign_in(known, "olaf", "wrong")).status == 401
            assert (await sign_in(known, "olaf")).status == 429  # a stolen device cookie does not help to guess
            assert (await sign_in(known, "ada", "wrong")).status == 401  # it is olaf's


async def test_each_time_a_user_signs_in_the_browser_is_known_for_90_days_again(tmp_path: Path) -> None:
    form = {"name": "olaf", "password": PASSWORD}
    async with team(tmp_path) as console, browser_at(console.browser.base) as browser:
        name, cookies = console.console.sessions.device_cookie_name, []
        for _ in range(2):
            page = await browser.post("/signin", form, allow_redirects=False)
            cookies += [each for each in page.headers.getall("Set-Cookie") if each.startswith(f"{name}=")]
        assert cookies[0] == cookies[1]
        assert "Max-Age=7776000" in cookies[0]


def test_a_device_cookie_is_one_user_s_until_the_password_changes() -> None:
    cookie = new_device_cookie("olaf", HASH)
    assert device_of(cookie, "olaf", HASH)
    assert not device_of(cookie, "ada", HASH)
    assert not device_of(cookie, "olaf", hash_password(PASSWORD))
    nonce, _, signature = cookie.partition(".")
    for forged in ("", ".", nonce, f"{nonce}.{'0' * 64}", f"{'0' * 32}.{signature}", f"{cookie}x", "é" * len(cookie)):
        assert not device_of(forged, "olaf", HASH)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 400)), max_size=60),
    st.integers(1, 4),
)
def test_a_counter_never_allows_more_than_its_limit_in_a_window(attempts: list[tuple[str, int]], limit: int) -> None:
    counter = AttemptCounter(limit, 300.0, 2)
    now, allowed = 0, list[tuple[str, int]]()
    for key, pause in attempts:
        now += pause
        wait_s = counter.wait(key, now)
        assert 0.0 <= wait_s <= 300.0
        if wait_s == 0.0:
            counter.add(key, now)
            allowed.append((key, now))
    for key, at in allowed:
        assert sum(each == key and at - 300 < when <= at for each, when in allowed) <= limit
    assert len(counter._attempts) <= 2


# --- the audit log


async def test_signing_in_and_out_and_the_making_of_links_are_in_the_audit_log(tmp_path: Path) -> None:
    async with team(tmp_path / "team") as console, signed_in(console, "olaf") as olaf:
        await olaf.get("/")
        await olaf.post("/signout")
        await sign_in(olaf, "olaf", "wrong")
        await sign_in(olaf, "olaf")
        await olaf.get("/")
        await olaf.post("/signout-everywhere", {"current": PASSWORD})
        entries, _ = console.console.store.audit_page(0, 10)
        assert [(entry.actor, entry.action) for entry in reversed(entries)] == [
            ("olaf", "signed in"),
            ("olaf", "signed out"),
            ("olaf", "sign-in refused"),
            ("olaf", "signed in"),
            ("olaf", "signed out everywhere"),
        ]
    async with world(tmp_path / "local") as local:
        page = await local.browser.post("/account/link")
        key = page.text.split("/enter?key=")[1].split("<")[0]
        entries, _ = local.console.store.audit_page(0, 10)
        assert [entry.action for entry in reversed(entries)] == ["signed in", "sign-in link made"]
        assert all(key not in f"{entry.subject} {entry.detail}" for entry in entries)


async def test_a_sign_in_link_that_users_have_replaced_is_recorded_as_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as local, local.another_browser() as other:
        link = local.authenticator.new_link()
        local.console.store.add_user("ada", "admin", HASH, 1.0)
        assert (await other.get(f"/enter?key={link}")).status == 401
        assert [entry.action for entry in local.console.store.audit_entries()] == ["signed in", "link refused"]


@pytest.mark.parametrize(("path", "action"), [("/signout", "sign-out"), ("/signout-everywhere", "sign-out everywhere")])
async def test_a_sign_out_whose_session_has_ended_meanwhile_is_recorded_by_the_name_of_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, action: str
) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        await olaf.get("/")
        for method in ("end", "end_all"):
            monkeypatch.setattr(SessionStore, method, lambda *_: False)  # another request has ended it
        assert (await olaf.post(path, {"current": PASSWORD})).status == 401  # the page after it
        assert [entry.action for entry in console.console.store.audit_entries()] == ["signed in", action]
