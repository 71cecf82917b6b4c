"""Shell completion: what Tab offers, in the shell itself where it is installed; no traceback, no file is written."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from bulkid.cli import completion
from bulkid.cli.app import app
from bulkid.journal import run_ids
from bulkid.journal.backends.sqlite import FILE_NAME
from bulkid.journal.store import open_journal
from tests.support.bulkid_command import ROOT, Bulkid
from tests.support.programs import program
from tests.support.sheet_books import archive, xlsx


def offered(bulkid: Bulkid, *typed: str, shell: str = "bash") -> list[str]:
    """What is offered for the last word, which the user has begun."""
    line = " ".join(("bulkid", *typed))
    asked = {
        "_BULKID_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(typed)),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_WORD_TO_COMPLETE": typed[-1],
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = Bulkid(bulkid.folder, {**bulkid.env, **asked})()
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else []


@pytest.fixture
def bulkid(tmp_path: Path) -> Bulkid:
    return Bulkid(tmp_path, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")})


def make_runs(bulkid: Bulkid, count: int) -> list[str]:
    """Make runs that were refused; gives their ids, newest first."""
    (bulkid.folder / "sheet.csv").write_text("name,display_name\na,b\n")
    for _ in range(count):
        assert bulkid("run", "sheet.csv", "--yes", "--sandbox").returncode == 2
    return [folder.name for folder in sorted((bulkid.folder / "reports").iterdir(), reverse=True)]


def test_commands_options_and_their_words_are_offered(bulkid: Bulkid) -> None:
    assert offered(bulkid, "re") == ["resume", "report"]
    assert offered(bulkid, "run", "--skip") == ["--skip-invalid"]
    assert offered(bulkid, "run", "s.csv", "--via", "") == ["auto", "accounts", "groups"]
    assert offered(bulkid, "run", "s.csv", "--format", "x") == ["xlsx"]
    assert offered(bulkid, "export", "--groups", "n") == ["names"]
    assert offered(bulkid, "users", "role", "bob", "o") == ["operator"]
    assert offered(bulkid, "completion", "") == list(completion.SHELLS)
    assert offered(bulkid, "run", "s.csv", "--note", "") == []


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_shell_is_answered_in_its_own_form(bulkid: Bulkid, shell: str) -> None:
    shown = "\n".join(offered(bulkid, "run", "--allow-d", shell=shell))
    assert "--allow-delete" in shown
    assert ("Delete accounts where" in shown) is (shell != "bash")


def test_the_newest_runs_are_offered_and_nothing_is_written(bulkid: Bulkid) -> None:
    assert offered(bulkid, "undo", "") == ["last"]
    assert not (bulkid.folder / "state").exists()
    ids = make_runs(bulkid, 2)
    before = {path: path.stat().st_mtime_ns for path in bulkid.folder.rglob("*")}
    assert sorted(offered(bulkid, "undo", "")) == sorted(["last", *ids])
    assert sorted(offered(bulkid, "resume", "20")) == sorted(ids)
    assert offered(bulkid, "report", ids[0]) == [ids[0]]
    assert offered(bulkid, "report", "l") == ["last"]
    assert sorted(offered(Bulkid(bulkid.folder), "--state-dir", "state", "report", "20")) == sorted(ids)
    assert {path: path.stat().st_mtime_ns for path in bulkid.folder.rglob("*")} == before


def test_runs_of_a_database_that_is_in_use_are_offered(bulkid: Bulkid) -> None:
    ids = make_runs(bulkid, 1)
    with open_journal(bulkid.folder / "state"):
        assert offered(bulkid, "report", "2") == ids
    assert run_ids.FILE_NAME == FILE_NAME


@pytest.mark.parametrize("damage", ["garbage", "folder", "empty", "toml", "server", "level"])
def test_a_state_that_cannot_be_read_offers_nothing(bulkid: Bulkid, damage: str) -> None:
    state = bulkid.folder / "state"
    state.mkdir()
    if damage == "folder":
        (state / FILE_NAME).mkdir()
    else:
        (state / FILE_NAME).write_bytes(b"" if damage == "empty" else b"hush" * 5000)
    if damage == "toml":
        (bulkid.folder / "bulkid.toml").write_text("[[[")
    env = {"BULKID_DATABASE_URL": "postgresql+psycopg://127.0.0.1:1/x"} if damage == "server" else {}
    if damage == "level":
        env = {"BULKID_STATE_DIR": "\x01"}
    assert offered(Bulkid(bulkid.folder, {**bulkid.env, **env}), "report", "2") == []


def test_profiles_are_offered(bulkid: Bulkid) -> None:
    assert offered(bulkid, "run", "--profile", "") == []
    (bulkid.folder / "bulkid.toml").write_text('[profiles.acme]\n[profiles.apac]\n[profiles."a;rm x"]\n[profiles.b]\n')
    assert offered(bulkid, "run", "s.csv", "--profile", "a") == ["acme", "apac"]
    (bulkid.folder / "bulkid.toml").write_text("[default]\nnonsense = 1\n")
    assert offered(bulkid, "run", "s.csv", "--profile", "a") == []


HOSTILE = ["$(touch x)", "`touch x`", "a;touch x", "a'b", 'a"b', "a\\", "*", "[b]", "a  b", "-- x\n"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_worksheets_are_offered_but_for_names_that_a_shell_would_run(bulkid: Bulkid, shell: str) -> None:
    names = ["EMEA", "EMEA 2026", "北京", *HOSTILE]
    from xml.sax.saxutils import escape

    (bulkid.folder / "book.xlsx").write_bytes(
        xlsx({escape(name, {'"': "&quot;", "\n": "&#10;"}): "" for name in names})
    )
    shown = offered(bulkid, "plan", "book.xlsx", "--sheet", "", shell=shell)
    text = "\n".join(shown)
    assert "EMEA" in text
    assert "北京" in text
    assert not any(name in text for name in HOSTILE if name not in ("*", "[b]", "a\\"))
    if shell == "bash":
        assert shown == ["EMEA", "'EMEA 2026'", "北京"]
        assert offered(bulkid, "plan", "book.xlsx", "--sheet", "EMEA") == ["EMEA", "'EMEA 2026'"]


@pytest.mark.parametrize("content", [b"", b"hush", archive({"xl/workbook.xml": b"<a"}), archive({"x": b""})])
def test_a_workbook_that_is_none_offers_nothing(bulkid: Bulkid, content: bytes) -> None:
    (bulkid.folder / "book.xlsx").write_bytes(content)
    assert offered(bulkid, "plan", "book.xlsx", "--sheet", "") == []
    assert offered(bulkid, "plan", "missing.xlsx", "--sheet", "") == []
    assert offered(bulkid, "plan", "--sheet", "") == []


def test_an_error_within_completion_is_silent(bulkid: Bulkid, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[str]:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(run_ids, "newest_run_ids", fail)
    make_runs(bulkid, 1)
    assert offered(bulkid, "report", "2") == []


def test_another_shell_is_refused(bulkid: Bulkid) -> None:
    done = bulkid("completion", "tcsh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "bash, zsh, fish or powershell" in done.stderr


def test_no_help_text_holds_what_a_shell_would_read_in_it() -> None:
    """Typer's scripts for zsh put help texts into a line that the shell evaluates, and escape all but this sign."""
    root = typer.main.get_command(app)
    commands = getattr(root, "commands", {})
    assert "run" in commands
    for command in commands.values():
        assert "\\" not in (command.get_short_help_str(1000) or "")
        assert not [each.name for each in command.params if "\\" in (getattr(each, "help", "") or "")]


@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_the_whole_sentence_stands_beside_each_command(bulkid: Bulkid, shell: str) -> None:
    shown = "\n".join(offered(bulkid, "", shell=shell)).replace(r"'\''", "'")
    for text in ("Read the sheet offline and name every invalid row.", "Write a run's report again, in any format."):
        assert text in shown
    assert "..." not in shown


def test_zsh_itself_keeps_the_apostrophes_of_a_sentence(bulkid: Bulkid) -> None:
    zsh = program("zsh")
    answer = "\n".join(offered(bulkid, "repor", shell="zsh"))  # noqa: S604 - the name of a shell
    script = '_arguments() { print -r -- "$@" }; eval $(cat)'
    done = subprocess.run([zsh, "-f", "-c", script], input=answer, capture_output=True, text=True, check=True)
    assert done.stdout == """*: :(("report":"Write a run's report again, in any format."))\n"""


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_bash_itself_completes_with_the_script(bulkid: Bulkid) -> None:
    bash = program("bash")
    (bulkid.folder / "bulkid").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bulkid "$@"\n')
    (bulkid.folder / "bulkid").chmod(0o755)
    script = (
        'PATH="$PWD:$PATH"; source /dev/stdin <<< "$(bulkid completion bash)"; COMP_WORDS=(bulkid re); COMP_CWORD=1; '
        '_bulkid_completion bulkid; printf "%s\\n" "${COMPREPLY[@]}"; complete -p bulkid'
    )
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        cwd=bulkid.folder,
        env={**bulkid.settings(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["resume", "report", "complete -o default -F _bulkid_completion bulkid"]
    assert done.stderr == ""
