"""The most fundamental error is reported first, and a pipe or device before bulkid waits for its content."""

import os
import socket
import stat
from pathlib import Path

import pytest

from tests.support.bulkid_command import Bulkid

LONG = "x" * 300
"""A name that no file system takes: to look it up is an error, whatever the rights of the user who runs the tests."""

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes in the file system are POSIX's")


def reported(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a command with no terminal and no server; one that waits would time out."""
    done = Bulkid(folder, {"HOME": str(folder)})(*arguments)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "nope.xlsx"), "nope.xlsx does not exist."),
        (("run", "nope.xlsx", "--yes"), "nope.xlsx does not exist."),
        (("run", "nope"), "nope does not exist."),
        (("run", "nope.xlsx", "--json"), "nope.xlsx does not exist."),
        (("plan", "nope.xlsx"), "nope.xlsx does not exist."),
        (("check", "nope.xlsx"), "nope.xlsx does not exist."),
        (("check", "ok.csv/nope.csv"), "ok.csv/nope.csv does not exist."),
        (("run", "empty.csv"), "empty.csv is empty."),
        (("run", ""), "The name of the sheet is empty."),
        (("check", " "), "The name of the sheet is empty."),
        (("run", "folder"), "folder is a folder."),
        (("run", "--plan", "nope.json"), "nope.json does not exist."),
        (("run", "--plan", "nope.json", "--yes"), "nope.json does not exist."),
        (("run", "--plan", "folder"), "folder is a folder, not a plan file."),
        (("run", "job.toml"), "sheet.csv does not exist."),
        (("run", "drop.toml"), "cannot be looked into"),
        (("run", "nope.toml"), "There is no job file nope.toml."),
        (("check", "~no-such-user/nope.toml"), "There is no job file ~no-such-user/nope.toml."),
        (("run", "folder.toml"), "folder.toml is a folder"),
        (("undo", "nope"), "There is no run 'nope'."),
        (("resume", "nope"), "There is no run 'nope'."),
        (("plan", "ok.csv", "--out", "none/plan.json"), "There is no folder"),
        (("export", "none/all.csv"), "There is no folder"),
        (("export", "all.pdf"), "an export ends in"),
        (("export", "ok.csv"), "exists already."),
    ],
)
def test_the_most_fundamental_fault_is_said_first(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "ok.csv").write_text("name,display_name\nr,x\n", encoding="utf-8")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "job.toml").write_text('source = "sheet.csv"\n', encoding="utf-8")
    (tmp_path / "drop.toml").write_text('[source]\nfolder = "none"\n', encoding="utf-8")
    code, error = reported(tmp_path, *arguments)
    assert code == 2
    assert said in error.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("undo", "", "--yes"), "Invalid value for 'RUN': it is empty: give a value."),
        (("undo", " ", "--yes"), "Invalid value for 'RUN': it is empty: give a value."),
        (("resume", "", "--yes"), "Invalid value for 'RUN': it is empty: give a value."),
        (("export", ""), "Invalid value for 'FILE': it is empty: give a value."),
        (("report", ""), "Invalid value for 'RUN': it is empty: give a value."),
        (("plan", "ok.csv", "--sandbox", "--out", ""), "Invalid value for '--out': it is empty: give a value."),
        (("run", "ok.csv", "--yes", "--plan", ""), "Invalid value for '--plan': it is empty: give a value."),
        (("sandbox", "--host", "", "--port", "0"), "Invalid value for '--host': it is empty: give a value."),
        (("run", "ok.csv", "--yes", "--first", ""), "option --first: '' is not a whole number."),
        (("run", "ok.csv", "--yes", "--max-failures="), "option --max-failures: '' is not a whole number."),
        (("run", "ok.csv", "--yes", "--url", ""), "option --url: '' is not an address."),
        (("run", "ok.csv", "--yes", "--report-dir", ""), "option --report-dir: '' is empty."),
    ],
)
def test_an_empty_value_as_from_a_variable_that_is_not_set_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    command = Bulkid(tmp_path, {"HOME": str(tmp_path), "BULKID_SANDBOX": "1"})
    (tmp_path / "ok.csv").write_text("name,display_name\nroby,Robbie\n", encoding="utf-8")
    assert command("run", "ok.csv", "--yes").returncode == 0
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(list((tmp_path / "reports").iterdir())) == 1  # of the one run, which nothing took for the one meant


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "ok.csv", "--yes", "--sandbox", "--report-dir", LONG), "The report cannot be written to"),
        (("plan", "ok.csv", "--sandbox", "--out", f"{LONG}/plan.json"), "The folder"),
        (("plan", "ok.csv", "--sandbox", "--out", f"{LONG}/plan.html"), "The folder"),
    ],
)
@posix
def test_a_folder_that_cannot_be_looked_up_is_told(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """As one within a folder that the user may not search."""
    (tmp_path / "ok.csv").write_text("name,display_name\nroby,Robbie\n", encoding="utf-8")
    code, error = reported(tmp_path, *arguments)
    assert code == 2
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize("raises", [True, False])
def test_a_user_without_a_home_directory_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, raises: bool
) -> None:
    """Versions of platformdirs that do not raise give a folder named ~ in the working directory."""

    def unknown(*_: object, **__: object) -> Path:
        if raises:
            raise RuntimeError("could not determine the home directory for '~/.config'")
        return Path("~/.config/bulkid")

    monkeypatch.setattr("platformdirs.user_config_path", unknown)
    code, error = reported(tmp_path, "runs")
    assert code == 2
    assert error.startswith("bulkid: The home directory of this user is not known")
    assert "Set the environment variable HOME to an absolute path." in error


def test_more_runs_than_a_database_counts_are_refused(tmp_path: Path) -> None:
    code, error = reported(tmp_path, "runs", "--limit", "9223372036854775808")
    assert (code, error.splitlines()[-1]) == (
        2,
        "Error: Invalid value for '--limit': Input should be less than or equal to 1000000000",
    )


def test_where_the_sheet_is_there_the_user_who_cannot_be_asked_comes_next(tmp_path: Path) -> None:
    (tmp_path / "ok.csv").write_text("name,display_name\nr,x\n", encoding="utf-8")
    assert "bulkid cannot ask for confirmation here" in reported(tmp_path, "run", "ok.csv")[1]


@posix
@pytest.mark.parametrize("command", [("check",), ("plan",), ("run", "--yes"), ("run", "--yes", "--plan")])
@pytest.mark.parametrize("name", ["pipe.csv", "pipe.xlsx", "pipe", "pipe.toml"])
def test_a_named_pipe_is_said_to_be_one_and_not_waited_for(tmp_path: Path, command: tuple[str, ...], name: str) -> None:
    os.mkfifo(tmp_path / name)
    code, error = reported(tmp_path, *command, name)
    assert code == 2
    assert f"{name} is a named pipe" in error.splitlines()[0]


@posix
def test_a_pipe_on_standard_input_named_by_its_path_is_pointed_to_the_dash(tmp_path: Path) -> None:
    if not Path("/dev/stdin").exists() and not stat.S_ISCHR(Path(os.devnull).stat().st_mode):
        pytest.skip("this system has no /dev/stdin")
    done = Bulkid(tmp_path)("check", "/dev/stdin", stdin="name,display_name\nr,x\n")
    assert done.returncode == 2
    assert "/dev/stdin is a named pipe, not a file." in done.stderr
    assert "Give - in place of the name" in done.stderr


@posix
def test_a_device_and_a_socket_are_said_to_be_such(tmp_path: Path) -> None:
    assert "/dev/null is a device, not a file." in reported(tmp_path, "check", os.devnull)[1]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.csv"))
        assert "s.csv is a socket, not a file." in reported(tmp_path, "check", "s.csv")[1]
