"""The sample sheets are as the script makes them, and suit a first run."""

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from python_calamine import load_workbook

from bulkid.sandbox.fixtures import seeded_organization
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.organization import AccountRecord, Organization

SAMPLES = Path(__file__).parents[2] / "sample_data"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_samples", SAMPLES / "make_samples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def directory() -> Organization:
    return seeded_organization(SandboxOptions())


def read_csv(path: Path, encoding: str) -> list[list[str]]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.reader(file))


def read_xlsx(path: Path) -> list[list[str]]:
    rows = load_workbook(path).get_sheet_by_index(0).to_python()
    assert all(isinstance(cell, str) for row in rows for cell in row), "every cell is text"
    return rows


def test_the_files_in_the_repository_are_what_the_script_makes(script: ModuleType, tmp_path: Path) -> None:
    script.write_samples(tmp_path)
    for name in ("robot_accounts.csv", "migration.csv", "onboarding.csv", "retire.csv"):
        assert (tmp_path / name).read_bytes() == (SAMPLES / name).read_bytes()
    assert read_xlsx(tmp_path / "robot_accounts.xlsx") == read_xlsx(SAMPLES / "robot_accounts.xlsx")


def test_making_them_twice_gives_the_same_bytes(script: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        script.write_samples(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_workbook_and_csv_hold_the_same_rows() -> None:
    rows = read_xlsx(SAMPLES / "robot_accounts.xlsx")
    assert rows == read_csv(SAMPLES / "robot_accounts.csv", "utf-8-sig")
    assert (SAMPLES / "robot_accounts.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert 195 <= len(rows) - 1 <= 205


def changes(row: Any, account: AccountRecord, group_ids: set[str]) -> bool:
    """Whether the row asks for anything that is not so: worked out here by itself, from the row's meaning."""
    wanted = {group.id for group in row.exact} if row.exact is not None else set(group_ids)
    wanted |= {group.id for group in row.add}
    wanted -= {group.id for group in row.remove}
    renames = row.display_name is not None and row.display_name != (account.display_name or "")
    return renames or wanted != group_ids


def test_more_accounts_change_than_one_window_of_the_limit_takes(script: ModuleType, directory: Organization) -> None:
    rows = script.account_rows(directory)
    changed = {row.account.id for row in rows if changes(row, row.account, row.account.group_ids)}
    assert 165 <= len(changed) <= 200
    idle = [row for row in rows if row.note.startswith("Nothing to do")]
    assert len(idle) >= 20
    assert not {row.account.id for row in idle} & changed
    busy = [row for row in rows if not row.note.startswith("Nothing to do")]
    assert {row.account.id for row in busy} == changed


def test_only_the_vendors_account_has_two_rows_and_they_agree(script: ModuleType, directory: Organization) -> None:
    rows = script.account_rows(directory)
    ids = [row.account.id for row in rows]
    assert sorted(ids) == sorted([*set(ids), "88-uv"])


def test_every_kind_of_row_is_there(script: ModuleType, directory: Organization) -> None:
    rows = script.account_rows(directory)
    cells = [row.cells() for row in rows]
    assert any(row.by_id and row.by_name for row in rows)
    assert any(row.by_id and not row.by_name for row in rows)
    assert any(not cell.isascii() for line in cells for cell in line[1:4])
    for fragment in ("; ", '"Sales, EU"; HR', '["Sales, EU", "Legal"]', "HR\nLegal", "!clear"):
        assert any(fragment in cell for line in cells for cell in line[:6])
    assert any(line[2] == "!clear" for line in cells)
    assert any(line[5] == "!clear" for line in cells)
    for line in cells:
        assert line[0] or line[1]
        assert not (line[5] and (line[3] or line[4])), "exact groups exclude the two other columns"
        assert not line[1].startswith(("=", "+", "-", "@")), "a spreadsheet would run it"


def test_the_cells_name_accounts_and_groups_of_the_default_sandbox(directory: Organization) -> None:
    for line in read_csv(SAMPLES / "robot_accounts.csv", "utf-8-sig")[1:]:
        if line[0]:
            account = directory.account(line[0])
            assert line[1] in ("", account.name)
        else:
            directory.account_named(line[1])


def test_the_migration_joins_by_id_and_nearly_all_of_it_changes_something(directory: Organization) -> None:
    header, *rows = read_csv(SAMPLES / "migration.csv", "utf-8")
    assert header == ["robotAccountId", "displayName", "groupIDsToAdd", "groupIDsToRemove"]
    assert len({row[0] for row in rows}) == len(rows) == 5000
    changed = renamed = 0
    for account_id, display_name, to_add, to_remove in rows:
        account = directory.account(account_id)
        assert directory.group(to_add).id == to_add
        assert to_remove == "" or directory.group(to_remove).id in account.group_ids
        renamed += bool(display_name) and display_name != account.display_name
        changed += bool(display_name or to_remove) or to_add not in account.group_ids
    assert renamed == 1000
    assert 4500 < changed < 5000
