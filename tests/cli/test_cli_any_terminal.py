"""Output arrives on every terminal and pipe, from every folder that a command is started in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bulkid.cli.options import with_settings
from bulkid.config.settings import Settings
from tests.support.bulkid_command import ROOT, Bulkid, end_of
from tests.support.cli_runner import call_cli
from tests.support.forked_command import ForkedCommand


def with_code_page(*arguments: str, cwd: Path, encoding: str = "cp1252") -> subprocess.CompletedProcess[bytes]:
    """Run bulkid as a Windows machine does whose output goes into a pipe."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("BULKID_")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": f"{encoding}:strict", "PYTHONUTF8": "0"}
    return subprocess.run(
        [sys.executable, "-m", "bulkid", "--state-dir", str(cwd / "state"), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )


def with_code_page_here(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """The same in this process: what a process has in addition is how its interpreter takes the arguments."""
    return call_cli(arguments, folder=cwd, env=Bulkid(cwd, {"PYTHONIOENCODING": "cp1252"}).settings())


def test_a_name_that_the_code_page_lacks_is_shown_as_an_escape(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("name,display_name,groups_to_remove\n北京,x,Everyone\n", encoding="utf-8")
    (tmp_path / "北京.csv").write_text("name,groups_to_remove\n北京,Everyone\n", encoding="utf-8")
    result = with_code_page("check", "北京.csv", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout.startswith(rb"\u5317\u4eac.csv: 1 row")
    assert b"Traceback" not in result.stderr


def test_the_plan_of_such_a_name_is_printed_whole(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("name,display_name\n北京,Zürich 東京\n", encoding="utf-8")
    result = with_code_page_here("plan", "names.csv", "--sandbox", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert rb"\u5317\u4eac" in result.stdout
    assert "Zürich".encode("cp1252") in result.stdout


def test_json_is_utf_8_whatever_the_code_page(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("name,display_name\n北京,東京\n", encoding="utf-8")
    result = with_code_page_here(
        "run", "names.csv", "--sandbox", "--yes", "--json", "--report-dir", "報告", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "報告" in json.loads(result.stdout.decode("utf-8"))["report"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that somebody works in")
def test_a_working_directory_that_is_gone_is_reported(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = 'import os, sys; os.rmdir(os.getcwd()); from bulkid.cli import main; sys.argv = ["bulkid", "runs"]; main()'
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=gone, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("bulkid: The working directory cannot be used")


@pytest.mark.parametrize(("given", "level"), [([], 0), (["-v"], 1), (["-vv"], 2), (["-v", "--verbose"], 2)])
def test_verbose_counts(given: list[str], level: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer
    from typer.testing import CliRunner

    seen: list[int] = []

    @with_settings("run")
    def command(*, settings: Settings) -> int:
        seen.append(settings.verbose)
        return 0

    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    assert seen == [level]


def test_a_port_that_no_machine_has_is_refused(tmp_path: Path) -> None:
    result = Bulkid(tmp_path)("sandbox", "--port", "99999")
    assert result.returncode == 2
    assert "65535" in result.stderr


def test_a_sheet_without_rows_is_not_reported_to_run_blind(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("name,display_name\n", encoding="utf-8")
    result = Bulkid(tmp_path)("plan", "none.csv", "--sandbox")
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stdout + result.stderr
    assert "Plan: 0 to change, 0 already correct, 0 invalid" in result.stdout


def test_json_names_the_report_that_was_written_where_another_program_holds_the_first(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("name,display_name\nroby,Robbie\n", encoding="utf-8")
    bulkid = Bulkid(tmp_path)
    run = json.loads(bulkid("run", "one.csv", "--sandbox", "--yes", "--json").stdout)
    held = tmp_path / run["report"]
    held.unlink()
    held.mkdir()  # like a file that is held open, what stands there cannot be replaced
    again = json.loads(bulkid("report", run["run_id"], "--json").stdout)
    assert again == {**run, "report": str(Path(run["report"]).with_name("report-2.csv"))}
    assert again == json.loads((held.parent / "summary.json").read_bytes())


CLOSED = "import os, sys; [os.close(int(number)) for number in sys.argv[1]]; os.execv(sys.executable, sys.argv[2:])"


def without_streams(numbers: str, *arguments: str, cwd: Path, new: bool = False) -> subprocess.CompletedProcess[str]:
    """Run bulkid as a service does that has closed some of the standard streams; ``new``: with a new interpreter."""
    if sys.platform == "linux" and not new:
        return end_of(ForkedCommand(arguments, folder=cwd, env=Bulkid(cwd).settings(), without=numbers))
    return subprocess.run(
        [sys.executable, "-c", CLOSED, numbers, sys.executable, "-m", "bulkid", *arguments],
        cwd=cwd,
        env=Bulkid(cwd).settings(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are handed on in another way there")
@pytest.mark.parametrize("numbers", ["0", "1", "2", "012"])
def test_a_missing_standard_stream_stops_nothing(numbers: str, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("name,display_name\nroby,Robbie\n", encoding="utf-8")
    result = without_streams(numbers, "run", "one.csv", "--sandbox", "--yes", cwd=tmp_path, new=numbers == "012")
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert len(list((tmp_path / "reports").glob("*/report.csv"))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are handed on in another way there")
def test_a_missing_standard_input_is_no_user_to_ask_and_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("name,display_name\nroby,Robbie\n", encoding="utf-8")
    asked = without_streams("0", "run", "one.csv", "--sandbox", cwd=tmp_path)
    assert (asked.returncode, asked.stderr.startswith("bulkid: bulkid cannot ask for confirmation here")) == (2, True)
    empty = without_streams("0", "check", "-", cwd=tmp_path)
    assert (empty.returncode, empty.stderr.startswith("bulkid: standard input is empty")) == (2, True)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a device that is always full")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_output_that_cannot_be_written_is_reported(form: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("name,display_name\nroby,Robbie\n", encoding="utf-8")
    with Path("/dev/full").open("wb") as full:
        env = Bulkid(tmp_path).settings()
        result = end_of(ForkedCommand(("check", "one.csv", *form), folder=tmp_path, env=env, stdout=full.fileno()))
    assert result.returncode == 1
    assert result.stderr == "bulkid: The output cannot be written: No space left on device.\n"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a device that is always full")
@pytest.mark.parametrize("page", [("--help",), ("--version",), ("run", "-h"), ("users", "add", "--help")])
def test_a_page_that_cannot_be_written_is_reported(page: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        env = Bulkid(tmp_path).settings()
        result = end_of(ForkedCommand(page, folder=tmp_path, env=env, stdout=full.fileno()))
    assert result.returncode == 1
    assert result.stderr == "bulkid: The output cannot be written: No space left on device.\n"
