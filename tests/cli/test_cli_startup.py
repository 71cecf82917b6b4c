"""The libraries that each command imports: only those that it needs, since imports take most of its start."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bulkid.cli.signals import run_event_loop

RUN_BEGINS = """
import sys
import bulkid.runs
from bulkid.errors import UsageError

async def begin(*_arguments, **_options):
    import bulkid.runs.commands
    raise UsageError("begun")

bulkid.runs.run = bulkid.runs.plan = begin
"""
"""The commands of the library end as they begin, with all imported that they import themselves."""

COMMAND = """
import sys
from bulkid.cli import main
try:
    main()
finally:
    print("\\n" + " ".join(sys.modules))
"""

LIBRARIES = ("pydantic", "pandas", "aiohttp", "sqlalchemy", "typer", "rich", "structlog", "anyio")


@cache
def loaded(*arguments: str, stopped: bool = False) -> frozenset[str]:
    """The modules that a command has imported when it ends, or as its run begins."""
    done = subprocess.run(
        [sys.executable, "-c", (RUN_BEGINS if stopped else "") + COMMAND, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert ("begun" in done.stderr) == stopped, done.stderr
    return frozenset(done.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("startup") / "s.csv"
    path.write_bytes(b"name,display_name\nroby,R\n")
    return str(path)


def begun(command: str, sheet: str, *options: str) -> frozenset[str]:
    """The modules as a command for a sheet begins its work."""
    where = ("--url", "http://127.0.0.1:9/identity", "--report-dir", str(Path(sheet).parent / "reports"))
    return loaded(command, sheet, *where, *options, stopped=True)


def test_a_quiet_run_of_a_sheet_imports_just_what_it_needs(sheet: str) -> None:
    modules = begun("run", sheet, "--quiet", "--yes", "--format", "csv", "--format", "jsonl")
    assert {"aiohttp", "sqlalchemy", "bulkid.runs.commands"} <= modules
    assert not modules & {"pydantic", "structlog", "rich", "pandas"}
    assert not modules & {"bulkid.jobfile.read", "bulkid.runs.jobs.drop_folder", "bulkid.cli.render"}


def test_one_that_logs_needs_structlog_as_well(sheet: str) -> None:
    modules = begun("run", sheet, "--yes", "-v")
    assert "structlog" in modules
    assert "pydantic" not in modules


def test_a_plan_needs_no_pydantic_and_no_structlog(sheet: str) -> None:
    assert not begun("plan", sheet) & {"pydantic", "structlog", "pandas", "rich.progress"}


def test_a_check_needs_no_library_of_the_network_and_the_database(sheet: str) -> None:
    modules = loaded("check", sheet)
    assert not modules & {"pydantic", "structlog", "aiohttp", "sqlalchemy", "pandas", "asyncio", "yarl"}


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "--help"), ("users", "add", "-h"), ()])
def test_a_page_of_help_needs_the_parser_alone(arguments: tuple[str, ...]) -> None:
    assert loaded(*arguments) & set(LIBRARIES) == {"typer"}


def test_a_list_of_runs_needs_the_database_alone(tmp_path: Path) -> None:
    modules = loaded("--state-dir", str(tmp_path), "runs")
    assert not modules & {"pydantic", "structlog", "aiohttp", "pandas"}


FIRST_REQUESTS = """
import sys
from bulkid.cli import main
from bulkid.journal.store import Journal
intend = Journal.intend

def first(*arguments, **options):
    Journal.intend = intend
    print("before the first: " + " ".join(sys.modules))
    return intend(*arguments, **options)

Journal.intend = first
main()
"""
NEEDLESS_FOR_UPDATES = {
    "bulkid.sheet.workbook",
    "bulkid.runs.execution.bisection",
    "bulkid.runs.execution.creation_sender",
    "bulkid.runs.execution.deletion_sender",
    "bulkid.runs.execution.group_sender",
    "bulkid.runs.execution.new_group_sender",
    "bulkid.runs.history",
    "bulkid.runs.inputs.plan_file",
    "bulkid.runs.inputs.undo",
    "bulkid.runs.rates",
    "bulkid.runs.sheet_check",
    "bulkid.notify.deliver",
    "bulkid.notify.message",
    "bulkid.report.prometheus",
    "bulkid.journal.queries",
    "bulkid.identity.client_assertion",
}


def loaded_before_the_first_request(folder: Path, text: str, *options: str, **settings: str) -> set[str]:
    """Run a sheet of CSV against the sandbox. Return the modules that are loaded when its first request may leave."""
    sheet = folder / "s.csv"
    sheet.write_text(text, encoding="utf-8")
    arguments = ("--state-dir", str(folder), "run", str(sheet), "--sandbox", "--yes", "--quiet", *options)
    done = subprocess.run(
        [sys.executable, "-c", FIRST_REQUESTS, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **settings},
        check=True,
    )
    (line,) = [each for each in done.stdout.splitlines() if each.startswith("before the first: ")]
    return set(line.split())


def test_a_run_of_a_csv_that_updates_accounts_sends_before_it_imports_what_others_need(tmp_path: Path) -> None:
    modules = loaded_before_the_first_request(tmp_path, "name,display_name\nroby,Another\n")
    assert {"bulkid.runs.execution.account_sender", "bulkid.sheet.csv_reader"} <= modules
    assert not modules & NEEDLESS_FOR_UPDATES


@pytest.mark.parametrize(
    ("text", "options", "needed"),
    [
        pytest.param(
            "name,display_name,action\nnew-bot,New,create\nroby,Another,\nrobot-0005,,delete\n",
            ("--allow-delete",),
            {"bulkid.runs.execution.creation_sender", "bulkid.runs.execution.deletion_sender"},
            id="creations and deletions",
        ),
        pytest.param(
            "name,add_groups\nroby,Legal\nrobot-0004,Legal\nrobot-0005,Legal\n",
            ("--via", "groups"),
            {"bulkid.runs.execution.group_sender", "bulkid.runs.execution.new_group_sender"},
            id="group requests",
        ),
    ],
)
def test_all_that_a_run_needs_later_is_loaded_before_its_first_request(
    tmp_path: Path, text: str, options: tuple[str, ...], needed: set[str]
) -> None:
    """An administrator may update bulkid while the run is under way."""
    assert needed <= loaded_before_the_first_request(tmp_path, text, *options)


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        pytest.param((), {"bulkid.report.text_files"}, id="text"),
        pytest.param(
            ("--format", "xlsx"),
            {"bulkid.report.summary_sheet", "bulkid.report.xlsx_files", "bulkid.runs.rates", "xlsxwriter.workbook"},
            id="workbook",
        ),
        pytest.param(("--metrics-file", "m.prom"), {"bulkid.report.prometheus", "prometheus_client"}, id="metrics"),
    ],
)
def test_what_writes_the_report_is_loaded_before_the_first_request(
    tmp_path: Path, options: tuple[str, ...], needed: set[str]
) -> None:
    assert needed <= loaded_before_the_first_request(tmp_path, "name,display_name\nroby,Another\n", *options)


def test_what_notifies_is_loaded_before_the_first_request(tmp_path: Path) -> None:
    text = "name,display_name\nroby,Another\n"
    modules = loaded_before_the_first_request(tmp_path, text, BULKID_NOTIFY_FAILURE="json://127.0.0.1:9")
    assert {"bulkid.notify.deliver", "bulkid.notify.message"} <= modules


CERTIFICATES = """
import os, ssl, sys
from bulkid.identity.aiohttp_import import import_aiohttp
before = dict(os.environ)
import_aiohttp()
from aiohttp import connector
kept = connector._SSL_CONTEXT_VERIFIED.get_ca_certs() + connector._SSL_CONTEXT_UNVERIFIED.get_ca_certs()
print(os.environ == before, len(kept), len(ssl.create_default_context().get_ca_certs()))
"""


def test_aiohttp_is_imported_without_loading_the_certificates_of_the_system_which_are_there_afterwards() -> None:
    authority = Path(__file__).parents[1] / "support" / "tls" / "server.pem"
    for environment in ({}, {"SSL_CERT_FILE": str(authority)}):
        done = subprocess.run(
            [sys.executable, "-c", CERTIFICATES],
            capture_output=True,
            text=True,
            env={**{name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}, **environment},
            check=True,
        )
        same, kept, later = done.stdout.split()
        assert same == "True"
        if sys.platform == "linux":  # elsewhere the system's own store is read as well
            assert int(kept) == 0
            assert int(later) == 1 or not environment


def test_what_runs_in_an_event_loop_imports_aiohttp_so(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr("bulkid.identity.aiohttp_import.import_aiohttp", lambda: seen.append(True))

    async def work() -> list[bool]:
        return list(seen)

    assert run_event_loop(work) == [True]


COMMAND_CERTIFICATES = COMMAND.replace(
    '" ".join(sys.modules)', "str(len(sys.modules['aiohttp.connector']._SSL_CONTEXT_VERIFIED.get_ca_certs()))"
)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own store is read as well")
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_command_that_connects_loads_no_certificates_for_aiohttp(command: str, sheet: str, tmp_path: Path) -> None:
    agreed = ["--yes"] if command == "run" else []
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            COMMAND_CERTIFICATES,
            "--state-dir",
            str(tmp_path),
            command,
            sheet,
            "--sandbox",
            *agreed,
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "0", done.stderr
