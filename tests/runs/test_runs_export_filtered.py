"""Exports for a review: some of the accounts, and with an action the sheet that asks for it."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from bulkid import runs
from bulkid.clock import SystemClock, utc_time
from bulkid.errors import UsageError
from bulkid.model import Account, Action, Group
from bulkid.planning.export_rows import Exporter
from bulkid.report.export_files import fits
from bulkid.resources import ROBOT_ACCOUNTS
from bulkid.runs import account_export
from bulkid.sheet import fields_for_headers
from bulkid.sheet.headers import unused_note
from tests.support.bulkid_command import Bulkid
from tests.support.command_output import assert_clear
from tests.support.identity_server import ORG, Identity, account, options
from tests.support.sandbox_host import serving_portal

DAY_S = 86_400.0
ACTION_HEADERS = ["robot_account_id", "name", "partition_global_id", "action", "created", "last_login"]


class AtTime(SystemClock):
    """A clock that shows one time of day for ever; waiting takes its usual time."""

    def __init__(self, text: str) -> None:
        moment = utc_time(text)
        assert moment is not None
        self._now = moment.timestamp()

    def now(self) -> float:
        return self._now


def context(folder: Path, now: str = "2026-11-29T08:00:00Z") -> runs.Context:
    return runs.Context(state_dir=folder / "state", clock=AtTime(now))


def used(account_id: str, created: str | None, login: str | None, groups: Sequence[str] = ()) -> dict[str, Any]:
    return {**account(account_id, groups=groups), "creationTime": created, "lastLoginTime": login}


def organization() -> Identity:
    return Identity(
        [
            used("a1", "2020-01-01T00:00:00Z", "2026-06-02T08:00:00Z", ["g-all", "g-fin"]),  # 180 days ago
            used("a2", "2020-01-01T00:00:00Z", "2026-06-02T08:00:01Z", ["g-all", "g-fin"]),
            used("a3", "2020-01-01T00:00:00Z", "2025-01-31T08:15:00.1234567+02:00", ["g-all"]),
            used("a4", "2020-01-01T00:00:00Z", None, ["g-all"]),
            used("a5", None, None, ["g-all"]),
            used("a6", "2026-11-28T00:00:00Z", None, ["g-all"]),
        ],
        page_size=4,
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


UNUSED = runs.ExportFilter(inactive_for_s=180 * DAY_S)


async def test_a_filtered_export_is_the_same_sheet_with_fewer_rows_and_changes_nothing(tmp_path: Path) -> None:
    server = organization()
    async with server.served():
        everything = await runs.export(tmp_path / "all.csv", server.target, context=context(tmp_path))
        some = await runs.export(tmp_path / "some.csv", server.target, context=context(tmp_path), wanted=UNUSED)
        result = await runs.run(some.path, server.target, options(tmp_path), context(tmp_path))
    assert (everything.accounts, everything.matching, everything.notes) == (6, None, ())
    assert (some.accounts, some.matching, some.listed, some.exit_code) == (3, 3, 6, 0)
    assert rows_of(some.path) == [row for row in rows_of(everything.path) if row["robot_account_id"] in "a1 a3 a4"]
    assert (result.summary["unchanged"], server.count("PUT"), result.notes) == (3, 0, ())
    (note,) = some.notes
    assert note.endswith('missing for 1 robot account, which is left out: "robot-a5".')


async def test_the_clock_says_since_when_an_account_is_inactive(tmp_path: Path) -> None:
    server = organization()
    async with server.served():
        for now, ids in (
            ("2026-06-02T08:00:00Z", ["a3", "a4"]),
            ("2026-11-29T07:59:59Z", ["a3", "a4"]),
            ("2026-11-29T08:00:01Z", ["a1", "a2", "a3", "a4"]),
        ):
            path = tmp_path / "some.csv"
            await runs.export(path, server.target, context=context(tmp_path, now), wanted=UNUSED, replace=True)
            assert [row["robot_account_id"] for row in rows_of(path)] == ids


@pytest.mark.parametrize("action", list(Action))
async def test_an_action_has_a_sheet_of_its_own(tmp_path: Path, action: Action) -> None:
    server = organization()
    more = {"context": context(tmp_path), "wanted": UNUSED, "action": action}
    async with server.served():
        for ending in ("csv", "xlsx", "jsonl"):
            await runs.export(tmp_path / f"some.{ending}", server.target, **more)
    row = dict(
        zip(
            ACTION_HEADERS, ["a3", "robot-a3", ORG, action, "2020-01-01T00:00:00Z", "2025-01-31T06:15:00Z"], strict=True
        )
    )
    found = rows_of(tmp_path / "some.csv")
    assert [each["robot_account_id"] for each in found] == ["a1", "a3", "a4"]
    assert found[1] == row
    assert found[2]["last_login"] == ""
    objects = [json.loads(line) for line in (tmp_path / "some.jsonl").read_text(encoding="utf-8").splitlines()]
    assert objects[1] == row
    assert objects[2]["last_login"] is None
    book = openpyxl.load_workbook(tmp_path / "some.xlsx")
    lines = list(book.worksheets[0].iter_rows(values_only=True))
    assert list(lines[0]) == ACTION_HEADERS
    assert lines[2][:4] == ("a3", "robot-a3", ORG, action)
    assert [str(each) for each in lines[2][4:]] == ["2020-01-01 00:00:00", "2025-01-31 06:15:00"]
    book.close()


@pytest.mark.parametrize("action", [None, Action.DELETE])
@pytest.mark.parametrize("ending", ["csv", "xlsx", "jsonl"])
async def test_an_export_without_a_match_is_a_file_with_the_headers_alone(
    tmp_path: Path, ending: str, action: Action | None
) -> None:
    server, path = organization(), tmp_path / f"none.{ending}"
    nothing = runs.ExportFilter(name="PROD*")
    async with server.served():
        result = await runs.export(path, server.target, context=context(tmp_path), wanted=nothing, action=action)
    assert (result.accounts, result.matching, result.listed, result.exit_code) == (0, 0, 6, 0)
    headers = list(ROBOT_ACCOUNTS.export_columns) if action is None else ACTION_HEADERS
    if ending == "csv":
        assert path.read_bytes().decode("utf-8-sig") == ",".join(headers) + "\r\n"
    elif ending == "jsonl":
        assert path.read_bytes() == b""
    else:
        book = openpyxl.load_workbook(path)
        assert [list(row) for row in book.worksheets[0].iter_rows(values_only=True)] == [headers]
        book.close()


async def test_an_unknown_group_stops_the_export_before_the_accounts_are_read(tmp_path: Path) -> None:
    server = organization()
    async with server.served():
        with pytest.raises(UsageError, match=r'No group .*"Finn".*Did you mean "Fin"'):
            await runs.export(
                tmp_path / "all.csv",
                server.target,
                context=context(tmp_path),
                wanted=runs.ExportFilter(in_group="Finn"),
            )
    assert not any("RobotAccount" in line for line in server.asked)
    assert not (tmp_path / "all.csv").exists()


async def test_a_list_that_is_read_again_counts_each_account_once(tmp_path: Path) -> None:
    server = organization()
    page, asked = server.on_page, []

    def one_more_meanwhile(skip: int, top: int, term: str) -> tuple[int, Any]:
        asked.append(skip)
        if len(asked) == 2:  # the first page is out: now its accounts come later in the list
            server.accounts["a0"] = used("a0", None, None)
        return page(skip, top, term)

    server.on_page = one_more_meanwhile  # type: ignore[method-assign]
    async with server.served():
        result = await runs.export(tmp_path / "some.csv", server.target, context=context(tmp_path), wanted=UNUSED)
    assert asked.count(0) == 2
    assert (result.accounts, result.matching, result.listed, result.complete) == (3, 3, 7, True)
    (note,) = result.notes
    assert note.endswith('for 2 robot accounts, which are left out: "robot-a0", "robot-a5".')


async def test_a_worksheet_must_hold_the_accounts_that_match_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_export, "MAX_EXPORT_ROWS", 3)
    server, path = organization(), tmp_path / "some.xlsx"
    async with server.served():
        result = await runs.export(path, server.target, context=context(tmp_path), wanted=UNUSED)
        assert result.accounts == 3
        more = runs.ExportFilter(name="robot-a[1-4]")
        with pytest.raises(UsageError, match="holds 3 accounts, and there are 4"):
            await runs.export(path, server.target, context=context(tmp_path), wanted=more, replace=True)


def test_what_an_export_adds_for_people_is_no_column_that_a_run_names() -> None:
    headers = ("name", "Created", "Last Login", "Team")
    assert unused_note(headers, fields_for_headers(headers)) == 'Ignored column: "Team".'
    fields = fields_for_headers(ROBOT_ACCOUNTS.action_columns)
    assert fields[:3] == ("robot_account_id", "name", "partition_global_id")
    assert fields[4:] == ("", "")


def test_a_row_of_an_action_names_its_account_beyond_doubt() -> None:
    """Where the cell cannot hold the id, the name must be that of no other account, be it selected or not."""
    found = [Account(each, "same", ("",), ()) for each in ("!clear", "#REF!", "c")]
    exporter = Exporter(ORG, [Group("g-all", "Everyone")], fits=fits, action=Action.DELETE)
    rows = exporter.rows(found[1:2], found)
    assert [row.cells for row in rows] == [None]
    assert any("left out" in note for note in exporter.notes)
    alone = Exporter(ORG, [], fits=fits, action=Action.DELETE).rows(found[1:2])
    assert [(row.cells or ())[:4] for row in alone] == [("", "same", ORG, "delete")]


def test_groups_that_the_server_does_not_say_matter_to_no_action() -> None:
    exporter = Exporter(ORG, [], fits=fits, action=Action.DELETE)
    (row,) = exporter.rows([Account("a", "n", (" x ",), None)])
    assert (row.cells or ())[:4] == ("a", "n", ORG, "delete")
    assert exporter.notes == ()


def served(server: Identity) -> Any:
    return serving_portal().wrap_async_context_manager(server.served())


def test_the_command_says_how_many_of_how_many_it_wrote(tmp_path: Path) -> None:
    server = organization()
    with served(server):
        env = {"BULKID_URL": server.url, "BULKID_ACCESS_TOKEN": "1234", "BULKID_ORGANIZATION_ID": ORG}
        bulkid = Bulkid(tmp_path, env)
        done = bulkid("export", "fin.csv", "--in-group", "fin", "--name", "ROBOT-A?", "--action", "delete")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Wrote 2 of 6 robot accounts to fin.csv; ")
        assert [row["action"] for row in rows_of(tmp_path / "fin.csv")] == ["delete", "delete"]
        done = bulkid("export", "none.csv", "--name", "PROD*")
        assert done.returncode == 0
        assert done.stdout.startswith("Wrote 0 of 6 robot accounts to none.csv: no account matches; ")
        done = bulkid("export", "old.csv", "--inactive-for", "520w", "--json")
        assert json.loads(done.stdout)["accounts"] == 0
        assert (json.loads(done.stdout)["counted"], len(json.loads(done.stdout)["notes"])) == (6, 1)
        assert_clear(bulkid("export", "x.csv", "--in-group", "Finn"), 2, "No group has", 'Did you mean "Fin"?')
        asked = len(server.asked)
        assert_clear(bulkid("export", "x.csv", "--inactive-for", "180"), 2, "--inactive-for", "90d")
        assert_clear(bulkid("export", "x.csv", "--name", ""), 2, "is blank")
        assert bulkid("export", "x.csv", "--action", "remove").returncode == 2
    assert len(server.asked) == asked, "known before anything is asked of the server"
    assert not (tmp_path / "x.csv").exists()
