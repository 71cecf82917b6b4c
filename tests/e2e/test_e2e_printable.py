"""Hostile names in sheets, file names and the directory are printed as plain text, on a terminal and in a pipe."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bulkid_command import Bulkid
from tests.support.sandbox_host import Hosted, hosted
from tests.support.sheets import sheet_of
from tests.support.terminal_text import NASTY, assert_safe

CONNECTED = Callable[..., Bulkid]

CELL = re.sub("[\x00-\x1f\x7f-\x9f\u2028]", "", NASTY)
"""What of it a cell may hold for a name; the rest makes the row invalid."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals, and no such file names"),
]


def on_a_terminal(bulkid: Bulkid, *arguments: str) -> tuple[int, str]:
    """Run a command whose output goes to a terminal; gives the exit code and what was written."""
    return bulkid.on_terminal(*arguments)


def in_a_pipe(bulkid: Bulkid, *arguments: str) -> tuple[int, str]:
    """Run a command whose output goes into pipes."""
    done = bulkid(*arguments)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def nasty(tmp_path: Path, connected: CONNECTED) -> Iterator[Bulkid]:
    """A sheet of such a name with such cells, and a server with such names."""
    with hosted(accounts=30) as server:
        yield _prepared(server, tmp_path, connected)


def _prepared(server: Hosted, folder: Path, connected: CONNECTED) -> Bulkid:
    state = server.sandbox.state
    accounts = list(state.accounts.values())
    for account in accounts[:6]:
        state.rename(account, NASTY)
    group = next(group for group in state.groups.values() if group.type == "custom")
    state.rename_group(group, NASTY)
    state.join(accounts[7], [group])
    rows = [["name", "display name", "groups", NASTY], ["roby", f"New {CELL}", "", NASTY]]
    rows += [[account.name, f"{account.name} {CELL}", "", ""] for account in accounts[1:5]]
    rows += [[accounts[7].name, "", "!clear", ""]]
    sheet_of(folder, rows, f"{_file_name()}.csv")
    bad = [["name", "groups to add"], [NASTY, NASTY], ["roby", f"Fin{NASTY}"]]
    sheet_of(folder, bad, f"bad{_file_name()}.csv")
    return connected(server)


def _file_name() -> str:
    return re.sub("[/\r]", "", NASTY)


@pytest.mark.parametrize("way", [on_a_terminal, in_a_pipe])
def test_no_command_writes_a_control_character(way: Callable[..., tuple[int, str]], nasty: Bulkid) -> None:
    sheet, bad = f"{_file_name()}.csv", f"bad{_file_name()}.csv"
    expected = {
        ("check", sheet): 0,
        ("check", bad): 2,
        ("plan", sheet): 0,
        ("plan", bad): 2,
        ("plan", sheet, "--json"): 0,
        ("run", sheet, "--yes", "-vv"): 0,
        ("undo", "last", "--yes"): 0,
        ("run", bad, "--yes"): 2,
        ("run", f"no{sheet}", "--yes"): 2,
        ("runs",): 0,
        ("runs", "--json"): 0,
        ("doctor",): 0,
        ("export", "accounts.csv"): 0,
    }
    for arguments, code in expected.items():
        ended, written = way(nasty, *arguments)
        assert_safe(written)
        assert ended == code, (arguments, written)
    for run_folder in (nasty.folder / "reports").iterdir():
        ended, written = way(nasty, "report", run_folder.name, "--format", "xlsx")
        assert_safe(written)
        assert ended == 0
