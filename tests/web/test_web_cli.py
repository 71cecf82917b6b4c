"""``bulkid serve`` and ``bulkid users`` as processes: the link, the end, a kill in the middle, users by terminal."""

import getpass
import io
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy import Connection

from bulkid import runs
from bulkid.cli import console
from bulkid.config.settings import Settings
from bulkid.engine.signals import Stop
from bulkid.errors import StateError, UsageError
from bulkid.journal import console_store
from bulkid.journal.console_store import AuditRecord, ConsoleStore, UserRecord
from bulkid.web.console import ServeOptions
from bulkid.web.server import tls_of
from tests.support.bulkid_command import Bulkid
from tests.support.sandbox_host import Hosted, hosted
from tests.support.served_console import served
from tests.support.web_console import LONGEST_S, browser_at, run_id_of, sheet, world

PASSWORD = "correct horse battery"


@pytest.fixture
def bulkid(tmp_path: Path) -> Bulkid:
    return Bulkid(tmp_path)


async def test_the_link_of_the_terminal_lets_in_and_a_signal_ends_the_console(bulkid: Bulkid) -> None:
    with served(bulkid, "--sandbox") as (process, address, key):
        async with browser_at(address) as browser:
            assert (await browser.get(f"/enter?key={key}")).status == 200
            home = (await browser.get("/")).text
            assert "a simulated organisation; no real account changes" in home
            assert re.search(r'<p class="target sandbox"><span class="unseen">Connected to</span> sandbox</p>', home)
            async with browser.session.get(f"{address}/runs/nope/events") as answer:
                assert answer.status == 404
        process.send_signal(signal.SIGTERM)
        assert await anyio.to_thread.run_sync(process.wait, LONGEST_S) == 0


@pytest.mark.slow
async def test_a_console_that_is_killed_in_the_middle_of_a_run_offers_to_go_on_with_it(bulkid: Bulkid) -> None:
    with hosted(accounts=600, latency_s=0.05) as server:
        bulkid.env.update(
            BULKID_URL=server.url,
            BULKID_CLIENT_ID="sandbox",
            BULKID_CLIENT_SECRET="sandbox-secret",
            BULKID_CONCURRENCY="2",
        )
        with served(bulkid) as (process, address, key):
            async with browser_at(address) as browser:
                await browser.get(f"/enter?key={key}")
                path = await browser.preview("accounts.csv", sheet(120))
                run_id = run_id_of(await browser.start(path))
                await _sent(server, 20)
            process.kill()
            process.wait(LONGEST_S)
        with served(bulkid) as (_, address, key):
            async with browser_at(address) as browser:
                await browser.get(f"/enter?key={key}")
                home = await browser.get("/")
                assert "1 unfinished run" in home.text
                page = await browser.get(f"/runs/{run_id}")
                assert "interrupted" in page.text
                await browser.post(f"/runs/{run_id}/resume")
                ended = await browser.run_ended(run_id)
                assert "completed" in ended.text
                assert "pending" not in ended.text
        names = {row["name"]: row["status"] for row in bulkid.report(run_id)}
        assert len(names) == 120
        assert set(names.values()) <= {"updated", "unchanged"}
        again = bulkid.as_process("runs", "--json")
        (summary,) = json.loads(again.stdout)
        assert summary["pending"] == 0


async def _sent(server: Hosted, count: int) -> None:
    """Wait until so many changes have been sent."""
    with anyio.fail_after(LONGEST_S):
        while (await anyio.to_thread.run_sync(_puts, server)) < count:  # noqa: ASYNC110 - in another process
            await anyio.sleep(0.05)


def _puts(server: Hosted) -> int:
    return sum(entry.get("method") == "PUT" for entry in server.log())


@pytest.mark.skipif(sys.platform == "win32", reason="processes are asked to end by signals here")
async def test_the_end_by_a_signal_settles_what_is_in_flight_and_keeps_the_run(bulkid: Bulkid) -> None:
    with hosted(accounts=600, latency_s=0.1) as server:
        bulkid.env.update(
            BULKID_URL=server.url,
            BULKID_CLIENT_ID="sandbox",
            BULKID_CLIENT_SECRET="sandbox-secret",
            BULKID_CONCURRENCY="2",
        )
        with served(bulkid) as (process, address, key):
            async with browser_at(address) as browser:
                await browser.get(f"/enter?key={key}")
                path = await browser.preview("accounts.csv", sheet(100))
                run_id = run_id_of(await browser.start(path))
                async with browser.session.get(f"{address}/runs/{run_id}/events") as watcher:
                    await watcher.content.readline()
                    await _sent(server, 5)
                    process.send_signal(signal.SIGINT)
                    assert await anyio.to_thread.run_sync(process.wait, LONGEST_S) == 0
        (summary,) = json.loads(bulkid.as_process("runs", "--json").stdout)
        assert summary["status"] == "interrupted"
        assert summary["run_id"] == run_id
        resumed = bulkid.as_process("resume", "--json")
        assert json.loads(resumed.stdout)["pending"] == 0


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_password_that_is_no_text_is_refused(bulkid: Bulkid, errors: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bulkid", "users", "add", "ada"],
        cwd=bulkid.folder,
        env={**bulkid.settings(), "PYTHONIOENCODING": f"utf-8:{errors}"},
        input=b"p\xe4ssword of quokkas 4711\n",  # as a terminal or a file in latin-1 has it
        capture_output=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"bulkid: The password is no text in the encoding of this terminal or pipe")


def test_the_end_of_the_input_at_the_prompt_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def end(_: str) -> str:
        raise EOFError

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", end)
    with pytest.raises(UsageError, match="No password was given: nothing was changed"):
        console.add(Settings(state_dir=tmp_path), "ada", "admin")


def test_users_are_added_listed_changed_and_removed(bulkid: Bulkid) -> None:
    assert "There are no users" in bulkid("users", "list").stderr
    added = bulkid("users", "add", "Ada", "--role", "admin", stdin=f"{PASSWORD}\n")
    assert added.returncode == 0, added.stderr
    assert PASSWORD not in added.stdout + added.stderr
    again = bulkid("users", "add", "ADA", stdin=f"{PASSWORD}\n")
    assert again.returncode == 2
    assert "There is a user" in again.stderr
    listed = bulkid("users", "list")
    assert "Ada" in listed.stdout
    assert "admin" in listed.stdout
    assert bulkid("users", "passwd", "ada", stdin=f"{PASSWORD} 2\n").returncode == 0
    assert "is admin already" in bulkid("users", "role", "ada", "admin").stdout
    assert "was admin and is viewer now" in bulkid("users", "role", " ADA ", "viewer").stdout
    assert "viewer" in bulkid("users", "list").stdout
    assert bulkid("users", "role", "nobody", "viewer").returncode == 2
    assert bulkid("users", "role", "ada", "king").returncode == 2
    assert bulkid("users", "remove", "ada").returncode == 0
    assert bulkid("users", "remove", "ada").returncode == 2
    assert bulkid("users", "passwd", "ada", stdin=f"{PASSWORD}\n").returncode == 2
    with runs.RunBrowser(bulkid.folder / "state") as run_browser:
        entries, _ = ConsoleStore(run_browser.journal).audit_page(0, 10)
    assert [(entry.address, entry.action, entry.subject, entry.detail) for entry in reversed(entries)] == [
        ("terminal", "user added", "Ada", "admin"),
        ("terminal", "password changed", "Ada", ""),
        ("terminal", "role changed", "Ada", "admin -> viewer"),
        ("terminal", "user removed", "Ada", ""),
    ]
    assert all(entry.actor for entry in entries)


def test_nothing_is_done_to_a_user_that_the_audit_log_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(state_dir=tmp_path)
    monkeypatch.setattr(console, "_read_password", lambda _name: PASSWORD)
    console.add(settings, "ada", "admin")

    def full(_connection: Connection, _entry: AuditRecord | None) -> None:
        raise StateError("The disk is full.")

    def users() -> list[UserRecord]:
        with runs.RunBrowser(tmp_path) as run_browser:
            return ConsoleStore(run_browser.journal).users()

    before = users()
    monkeypatch.setattr(console_store, "_add_entry", full)
    for change in (
        partial(console.add, settings, "bob", "viewer"),
        partial(console.change_role, settings, "ada", "viewer"),
        partial(console.change_password, settings, "ada"),
        partial(console.remove, settings, "ada"),
    ):
        with pytest.raises(StateError):
            change()
    assert users() == before


def test_the_advice_to_change_a_password_names_the_state_of_the_user(bulkid: Bulkid) -> None:
    given = ("--state-dir", "other state")
    assert bulkid("users", "add", "ada", *given, stdin=f"{PASSWORD}\n").returncode == 0
    refused = bulkid("users", "add", "ada", *given, stdin=f"{PASSWORD}\n").stderr
    advised = refused.partition("Change the password with: bulkid ")[2]
    assert bulkid(*shlex.split(advised), stdin=f"{PASSWORD} 2\n").returncode == 0, refused


async def test_a_new_link_is_shown_when_the_last_session_has_ended(bulkid: Bulkid) -> None:
    with served(bulkid, "--sandbox") as (process, address, key):
        async with browser_at(address) as browser:
            await browser.get(f"/enter?key={key}")
            await browser.post("/signout")
            assert process.stdout is not None
            with anyio.fail_after(LONGEST_S):
                assert "session has ended" in await anyio.to_thread.run_sync(process.stdout.readline)
                link = await anyio.to_thread.run_sync(process.stdout.readline)
            assert (await browser.get(link.strip().removeprefix(address))).status == 200
            audit = (await browser.get("/audit.csv")).text
            assert audit.count("sign-in link made") == 2
            assert audit.count("signed out") == 1


@pytest.mark.parametrize(
    ("arguments", "typed", "says"),
    [
        (("add", "ada", "--role", "king"), PASSWORD, "There is no role 'king'"),
        (("add", "ada"), "short", "A password has"),
        (("add", "ada"), "", "A password has"),
        (("add", "ada"), "password1234", "common, or easy to guess"),
        (("add", "ada.lovelace"), "Lovelace 2026!", "too close to the user name"),
        (("add", " "), PASSWORD, "printable characters"),
        (("add", "x" * 200), PASSWORD, "printable characters"),
    ],
)
def test_a_user_that_cannot_be_is_refused(bulkid: Bulkid, arguments: tuple[str, ...], typed: str, says: str) -> None:
    refused = bulkid("users", *arguments, stdin=f"{typed}\n")
    assert refused.returncode == 2
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_with_a_user_the_console_asks_for_name_and_password(bulkid: Bulkid) -> None:
    bulkid.as_process("users", "add", "ada", "--role", "admin", stdin=f"{PASSWORD}\n")
    with served(bulkid, "--sandbox") as (_, address, key):
        assert not key
        async with browser_at(address) as browser:
            page = await browser.post("/signin", {"name": "ada", "password": PASSWORD})
            assert page.status == 200
            assert "Change robot accounts" in page.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--host", "192.0.2.1"), "no users"),
        (("--behind-proxy", "--public-name", "bulkid.example.com"), "no users"),
        (("--require-approval",), "no other operator"),
        (("--certfile", "nowhere.pem"), "cannot be used"),
        (("--keyfile", "nowhere.pem"), "without a certificate"),
        (("--port", "70000"), "70000"),
    ],
)
def test_what_cannot_be_served_safely_is_refused(bulkid: Bulkid, options: tuple[str, ...], says: str) -> None:
    refused = bulkid("serve", "--sandbox", *options)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_the_console_speaks_tls(bulkid: Bulkid, tmp_path: Path) -> None:
    import ssl

    certificate = tmp_path / "cert.pem"
    _make_certificate(certificate)
    bulkid.as_process("users", "add", "ada", "--role", "admin", stdin=f"{PASSWORD}\n")
    with served(bulkid, "--sandbox", "--certfile", str(certificate)) as (_, address, _key):
        assert address.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with browser_at(address) as browser, browser.session.get(f"{address}/", ssl=trusted) as answer:
            assert answer.status == 401


def test_the_terminal_names_an_address_under_which_the_console_answers(bulkid: Bulkid, tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    _make_certificate(certificate)
    bulkid.as_process("users", "add", "ada", "--role", "admin", stdin=f"{PASSWORD}\n")
    options = ("--sandbox", "--certfile", str(certificate), "--public-name", "bulkid.example.com")
    with served(bulkid, *options) as (_, address, _key):
        assert re.fullmatch(r"https://bulkid\.example\.com:\d+", address)


async def test_a_database_that_is_away_for_a_moment_does_not_end_the_offer_of_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as made:
        stop, lines, users = Stop(), list[str](), made.console.store.users

        def away() -> list[UserRecord]:
            monkeypatch.setattr(made.console.store, "users", users)
            raise StateError("The database is away.")

        async def look(_timeout_s: float) -> None:
            await anyio.lowlevel.checkpoint()
            if lines:
                stop.request("Seen")

        await made.browser.post("/signout")
        monkeypatch.setattr(made.console.store, "users", away)
        monkeypatch.setattr(made.console.sessions, "wait_for_end", look)
        with anyio.fail_after(LONGEST_S):
            await console._offer_links(made.console, made.authenticator, "http://x", lines.append, stop)
        assert lines[0] == "The last session has ended. This link lets one browser in, once:"


async def test_a_link_of_a_page_that_no_browser_opened_keeps_none_from_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as made:
        stop, lines, looks = Stop(), list[str](), count(1)

        async def look(_timeout_s: float) -> None:
            await anyio.lowlevel.checkpoint()
            if next(looks) == 3:
                stop.request("Seen")

        assert "/enter?key=" in (await made.browser.post("/account/link")).text
        await made.browser.post("/signout")
        monkeypatch.setattr(made.console.sessions, "wait_for_end", look)
        with anyio.fail_after(LONGEST_S):
            await console._offer_links(made.console, made.authenticator, "http://x", lines.append, stop)
        assert lines[:1] == ["The last session has ended. This link lets one browser in, once:"]
        assert len(lines) == 2, "one link for three looks"


def test_no_older_tls_than_1_2_is_spoken(tmp_path: Path) -> None:
    import ssl

    certificate = tmp_path / "cert.pem"
    _make_certificate(certificate)
    context = tls_of(ServeOptions(certfile=certificate))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def _make_certificate(path: Path) -> None:
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "console")])
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    content = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path.write_bytes(content + made.public_bytes(serialization.Encoding.PEM))
