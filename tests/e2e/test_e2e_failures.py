"""A wrong setting, a missing scope or an unreachable server: one message, exit code 3, all rows pending."""

import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio.to_thread
import pytest
from aiohttp import web

from bulkid import runs
from bulkid.sandbox.tokens import TokenIssuer
from tests.support.bulkid_command import ORGANIZATION, SECRET, Bulkid, connected_to, end_of
from tests.support.command_output import assert_clear, assert_no_secret, errors_of, statuses, summary_of
from tests.support.identity_wire import TLS
from tests.support.sandbox_host import Hosted, hosted, meanwhile, wait_for_puts
from tests.support.sheets import renames, sheet_of

STATIC = "opaque-token-0123456789"
READ_ONLY = "PM.RobotAccount.Read PM.Group.Read"
WRITE_ONLY = "PM.RobotAccount.Write PM.Group.Read"
BY_STATIC_TOKEN = {"BULKID_CLIENT_ID": "", "BULKID_CLIENT_SECRET": "", "BULKID_ORGANIZATION_ID": ORGANIZATION}


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with hosted(accounts=60, static_tokens=(STATIC,)) as host:
        yield host


def tokens_of(host: Hosted) -> tuple[str, ...]:
    """Every token that the server gave out or takes."""
    return tuple(host.sandbox.token_issuer._grants)


def assert_nothing_sent(bulkid: Bulkid, done: subprocess.CompletedProcess[str], rows: int) -> None:
    """The run is there to be resumed: each row pending, in the report, in retry.csv and in the summary."""
    summary = summary_of(done)
    assert (summary["status"], summary["pending"], summary["rows"]) == ("stopped", rows, rows)
    assert summary["requests"]["PUT"] == 0
    assert statuses(bulkid.report()) == ["pending"] * rows
    assert all(row["error"] for row in bulkid.report())
    assert (bulkid.run_folder() / "retry.csv").exists()
    assert str(bulkid.run_folder() / "report.csv") == summary["report"]


def assert_resumed(bulkid: Bulkid, rows: int) -> subprocess.CompletedProcess[str]:
    """The cause is gone: ``resume`` finishes the run."""
    resumed = bulkid("resume", "--yes", "--json")
    assert resumed.returncode == 0, resumed.stderr
    summary = summary_of(resumed)
    assert (summary["status"], summary["updated"]) == ("completed", rows)
    assert statuses(bulkid.report()) == ["updated"] * rows
    assert not (bulkid.run_folder() / "retry.csv").exists()
    return resumed


@dataclass(frozen=True)
class Wrong:
    """A mistake in the settings: what is wrong, and which words the message must hold."""

    env: dict[str, str]
    words: tuple[str, ...]
    rows: Sequence[Sequence[str]] = ()
    mended: dict[str, str] | None = None


def by_id(host: Hosted, text: str) -> str:
    return next(group.id for group in host.sandbox.state.groups.values() if group.name == text)


MISTAKES = {
    "wrong secret": Wrong({"BULKID_CLIENT_SECRET": "wr0ng-s3cr3t-value"}, ("refuses the credentials", "SECRET")),
    "scope not granted": Wrong({"BULKID_SCOPE": "PM.RobotAccount PM.Nonsense"}, ("PM.Nonsense", "BULKID_SCOPE")),
    "no write scope": Wrong({"BULKID_SCOPE": READ_ONLY}, ("may not change robot accounts", "PM.RobotAccount.Write")),
    "no read scope, and names": Wrong({"BULKID_SCOPE": WRITE_ONLY}, ("by name", "PM.RobotAccount.Read")),
    "no group scope, and group names": Wrong(
        {"BULKID_SCOPE": "PM.RobotAccount"},
        ("Finance", "PM.Group.Read"),
        (("name", "groups to add"), ("roby", "Finance"), ("robot-0050", "Finance; Everyone; alumni-02")),
    ),
    "another organisation": Wrong(
        {"BULKID_ORGANIZATION_ID": "11111111-2222-4333-8444-555555555555"},
        ("11111111-2222-4333-8444-555555555555", "BULKID_ORGANIZATION_ID"),
        mended={"BULKID_ORGANIZATION_ID": ORGANIZATION},
    ),
    "a token that is none": Wrong(
        {**BY_STATIC_TOKEN, "BULKID_ACCESS_TOKEN": "not-the-opaque-token"},
        ("refuses the access token", "BULKID_ACCESS_TOKEN"),
        mended={**BY_STATIC_TOKEN, "BULKID_ACCESS_TOKEN": STATIC},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message_and_leaves_the_run_to_be_resumed(
    tmp_path: Path, server: Hosted, mistake: str
) -> None:
    wrong = MISTAKES[mistake]
    if wrong.rows:
        sheet_of(tmp_path, wrong.rows)
    else:
        renames(tmp_path, 3, prefix=mistake)
    rows = len(wrong.rows) - 1 if wrong.rows else 3
    bulkid = connected_to(tmp_path, server.url, **wrong.env)
    done = bulkid("run", "sheet.csv", "--yes", "--json", "-v", "--log-format", "json")
    assert_clear(done, 3, *wrong.words)
    assert_nothing_sent(bulkid, done, rows)
    again = connected_to(tmp_path, server.url, **wrong.mended or {})
    resumed = assert_resumed(again, rows)
    secrets = (SECRET, "wr0ng-s3cr3t-value", "not-the-opaque-token", *tokens_of(server))
    assert_no_secret(tmp_path, (done, resumed), *secrets)


def test_an_address_that_answers_with_web_pages_is_told_from_an_outage(tmp_path: Path, server: Hosted) -> None:
    renames(tmp_path, 3)
    bulkid = connected_to(tmp_path, server.url.replace("/identity", "/elsewhere/identity"))
    done = bulkid("run", "sheet.csv", "--yes", "--json")
    assert_clear(done, 3, "does not answer as an Identity Server", "web page", "BULKID_URL")
    assert_nothing_sent(bulkid, done, 3)
    # The run has no plan yet, so its address is not what it is known by: to mend it is enough.
    assert_resumed(connected_to(tmp_path, server.url), 3)


def test_a_scope_that_only_the_server_knows_to_be_missing_stops_the_run_at_the_first_403(tmp_path: Path) -> None:
    renames(tmp_path, 40)
    with hosted(accounts=60, static_tokens=(STATIC,), granted_scopes=("PM.RobotAccount.Read",)) as host:
        bulkid = connected_to(tmp_path, host.url, **BY_STATIC_TOKEN, BULKID_ACCESS_TOKEN=STATIC)
        done = bulkid("run", "sheet.csv", "--yes", "--json", "--concurrency", "2")
        assert_clear(done, 3, "403", "PM.RobotAccount.Write")
        assert len(host.puts()) <= 4, "each further request would be refused the same way"
        assert summary_of(done)["pending"] == 40
        assert statuses(bulkid.report()) == ["pending"] * 40
        sandbox = host.sandbox
        granted = replace(sandbox.options, granted_scopes=("PM.RobotAccount",))
        sandbox.token_issuer = TokenIssuer(granted, time.time, time.monotonic)
        resumed = assert_resumed(bulkid, 40)
        assert_no_secret(tmp_path, (done, resumed), STATIC)


def test_an_application_with_the_scope_for_accounts_alone_runs_by_group_ids_without_any_setting(tmp_path: Path) -> None:
    with hosted(accounts=60, granted_scopes=("PM.RobotAccount",)) as host:
        finance = by_id(host, "Finance")
        bulkid = connected_to(tmp_path, host.url)
        sheet_of(tmp_path, (("name", "display name", "groups to add"), ("roby", "Robbie", finance)))
        done = bulkid("run", "sheet.csv", "--yes", "--json")
        assert done.returncode == 0, done.stderr
        assert (summary_of(done)["updated"], summary_of(done)["requests"]["POST"]) == (1, 3)
        assert host.display_name("roby") == "Robbie"
        sheet_of(tmp_path, (("name", "groups to add"), ("roby", "Trainees")))
        named = bulkid("run", "sheet.csv", "--yes")
        assert_clear(named, 3, "PM.Group.Read")


def test_without_the_read_scopes_a_run_by_ids_is_blind_and_says_so(tmp_path: Path, server: Hosted) -> None:
    finance = by_id(server, "Finance")
    sheet_of(tmp_path, (("id", "display name", "groups to add"), ("88-uv", "Blind", finance)))
    bulkid = connected_to(tmp_path, server.url, BULKID_SCOPE="PM.RobotAccount.Write")
    planned = bulkid("plan", "sheet.csv")
    assert planned.returncode == 0, planned.stderr
    for words in ("blind", "PM.RobotAccount.Read", "PM.Group.Read"):
        assert words in planned.stdout
    done = bulkid("run", "sheet.csv", "--yes")
    assert done.returncode == 0, done.stderr
    for words in ("blind", "PM.RobotAccount.Read", "PM.Group.Read"):
        assert words in done.stderr
    assert [entry for entry in server.sandbox.log if entry.account == "88-uv" and entry.method == "GET"] == []
    assert (server.display_name("roby"), statuses(bulkid.report())) == ("Blind", ["updated"])


# --- a server that cannot be reached: all tried at the same time, since each takes its few seconds


@contextmanager
def over_tls(host: Hosted) -> Iterator[str]:
    """The sandbox behind a certificate that nobody has vouched for."""
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    runner = web.AppRunner(host.sandbox.app(), access_log=None, handle_signals=False, shutdown_timeout=0.1)

    async def listen() -> int:
        await runner.setup()
        await web.TCPSite(runner, "localhost", 0, ssl_context=trust).start()
        port: int = runner.addresses[0][1]
        return port

    port = host.portal.call(listen)
    try:
        yield f"https://localhost:{port}/identity"
    finally:
        host.portal.call(runner.cleanup)


@pytest.fixture(scope="module")
def unreachable(
    server: Hosted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], tuple[Bulkid, subprocess.CompletedProcess[str]]]]:
    """Ends of runs whose server cannot be reached, by why it cannot."""
    with ExitStack() as stack:
        away = stack.enter_context(hosted(accounts=60))
        away.stop()
        proxy = stack.enter_context(refusing_proxy(server))
        attempts = {
            "down": (away.url, {}),
            # A name server that does not answer is given up before the connection is.
            "no such host": ("https://host.invalid/identity", {"RES_OPTIONS": "timeout:1 attempts:1"}),
            "unknown certificate": (stack.enter_context(over_tls(server)), {}),
            "refusing proxy": ("https://identity.example/identity", {"HTTPS_PROXY": proxy}),
        }
        tried: dict[str, tuple[Bulkid, subprocess.Popen[str]]] = {}
        for name, (url, env) in attempts.items():
            folder = tmp_path_factory.mktemp("unreachable")
            renames(folder, 3, prefix=name)
            bulkid = connected_to(folder, url, **env)
            tried[name] = bulkid, bulkid.start("run", "sheet.csv", "--yes", "--json")
        ends = {name: (bulkid, end_of(process)) for name, (bulkid, process) in tried.items()}
        away.start()
        yield ends.__getitem__


@contextmanager
def refusing_proxy(host: Hosted) -> Iterator[str]:
    """A proxy that wants to know who asks, and does not take the answer. Its address holds a password."""

    async def refuse(_: web.BaseRequest) -> web.Response:
        return web.Response(status=407, text="Proxy Authentication Required")

    async def listen() -> tuple[int, web.ServerRunner]:
        runner = web.ServerRunner(web.Server(refuse), handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner.addresses[0][1], runner

    port, runner = host.portal.call(listen)
    try:
        yield f"http://proxyuser:pr0xy-passw0rd@127.0.0.1:{port}"
    finally:
        host.portal.call(runner.cleanup)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("down", ("cannot be reached", "connection refused")),
        ("no such host", ("host.invalid", "not found")),
        ("unknown certificate", ("certificate", "BULKID_CA_BUNDLE")),
        ("refusing proxy", ("proxy", "407")),
    ],
)
def test_a_server_that_cannot_be_reached_is_one_message(
    server: Hosted,
    unreachable: Callable[[str], tuple[Bulkid, subprocess.CompletedProcess[str]]],
    why: str,
    words: tuple[str, ...],
) -> None:
    bulkid, done = unreachable(why)
    assert_clear(done, 3, *words)
    assert_nothing_sent(bulkid, done, 3)
    assert sum(summary_of(done)["requests"].values()) == 0, "nothing has left"
    assert_no_secret(bulkid.folder, (done,), SECRET, "pr0xy-passw0rd")
    if why == "unknown certificate":
        assert_resumed(Bulkid(bulkid.folder, bulkid.env | {"BULKID_CA_BUNDLE": str(TLS / "server.pem")}), 3)
    elif why == "down":
        assert_resumed(bulkid, 3)
    elif why == "refusing proxy":
        mended = bulkid.env | {"BULKID_URL": server.url}
        assert_resumed(Bulkid(bulkid.folder, mended | {"NO_PROXY": "127.0.0.1"}), 3)


# --- a server that goes away in the middle


@pytest.mark.slow
def test_a_server_that_comes_back_within_seconds_is_waited_for(tmp_path: Path) -> None:
    renames(tmp_path, 60)
    with hosted(accounts=80, latency_s=0.03) as host:
        bulkid = connected_to(tmp_path, host.url)

        def interrupt(_: threading.Event) -> None:
            wait_for_puts(host, 20)
            host.stop()
            time.sleep(0.5)
            host.start()

        with meanwhile(interrupt):
            done = bulkid("run", "sheet.csv", "--yes", "--json", "--concurrency", "4")
        assert done.returncode == 0, done.stderr
        summary = summary_of(done)
        assert (summary["updated"], summary["failed"]) == (60, 0)
        assert all(host.display_name(f"robot-{n:04d}") == f"New {n}" for n in range(1, 61))
        per_account = [entry.account for entry in host.puts()]
        assert len(per_account) <= 60 + 4, "only what was in flight may be sent twice"
        assert set(statuses(bulkid.report())) == {"updated"}
        assert errors_of(done) == []


async def test_a_server_that_stays_away_ends_the_run_which_resume_then_finishes(tmp_path: Path) -> None:
    sheet = renames(tmp_path, 80)
    with hosted(accounts=200, latency_s=0.02) as host:
        target = runs.Target(url=host.url, client_id="sandbox", client_secret=SECRET)
        options = runs.RunOptions(concurrency=4, report_dir=tmp_path / "reports", outage_limit_s=1.0)
        context = runs.Context(state_dir=tmp_path / "state")
        async with runs.task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, stop_after, host, 20)
            result = await runs.run(sheet, target, options, context)
        assert result.exit_code == 3
        assert result.error is not None
        assert "Try again when it is back." in str(result.error)
        assert 20 <= result.summary["updated"] <= 40
        assert result.summary["updated"] + result.summary["pending"] == 80
        assert result.summary["updated"] == sum(host.display_name(f"robot-{n:04d}") == f"New {n}" for n in range(1, 81))
        host.start()
        resumed = await runs.resume("", target, runs.Context(state_dir=tmp_path / "state"))
        assert (resumed.exit_code, resumed.summary["updated"]) == (0, 80)
        sent = [entry.account for entry in host.puts()]
        assert len(set(sent)) == 80
        assert len(sent) <= 80 + 4, "what was confirmed is not sent again"


def stop_after(host: Hosted, count: int) -> None:
    """Let the server carry out so many, and hang up."""
    wait_for_puts(host, count)
    host.stop()
