"""An export that is run unchanged sends nothing, and after an edit just the edit: by the real files and reader."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bulkid.model import Account, Group
from bulkid.planning.directory import Directory
from bulkid.planning.export_rows import ExportedAccount, Exporter
from bulkid.planning.plan import Plan, build_plan
from bulkid.planning.resolve import resolve
from bulkid.report.export_files import fits, open_export
from bulkid.report.xlsx_files import _NOT_XML
from bulkid.resources import ROBOT_ACCOUNTS
from bulkid.sheet import fields_for_headers, list_cell, open_sheet, parse_list
from bulkid.sheet.headers import near_miss
from tests.support.examples import examples

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
LAW = settings(
    deadline=None,
    max_examples=examples(30, soak=300),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FORMATS = pytest.mark.parametrize("kind", ["csv", "xlsx"])

ODD = [
    *(
        "",
        " ",
        "!clear",
        "!CLEAR",
        "#N/A",
        "#n/a",
        "#WERT!",
        "Err:502",
        "1E+05",
        "1,2E+16",
        "00123",
        "1e5",
        "TRUE",
        "NA",
    ),
    *("=1+1", "+49", "-x", "@me", "'=1", "'", "''", "'quoted'", '"', '""', '"a"', 'a "b"', "a;b", "a,b", "a|b", "a\nb"),
    *("[a]", '["a","b"]', "[", "]", "a ", " a", "\ta", "a\u200b", "\ufeffa", "\u00a0a", "\x00", "a\x07", "\x85", "\r"),
    *("\ud800", "\ufffe", "_x0041_", "<r>x</r>", "<b>&amp;", "Müller", "Mu\u0308ller", "İ", "ß", "SS", "北京", "🤖"),
    *("Everyone", "everyone", "robot_account_id", "name", "display_name", "groups", ".", "..", "x" * 1025, "\uff1d1"),
    *("12345678901234567", "2024-01-31", "\u2028", "a\u2028b", "sep=;", "\\", "`", "a;", ";", ",", "%00"),
]
PLAIN = st.text("abcdefgXYZ0123456789 éß北-_./()", min_size=1, max_size=12).map(lambda text: f"N{text}n")
TEXTS = st.sampled_from(ODD) | PLAIN | st.text(max_size=8)
EVERYONE = "e-0"


class World(NamedTuple):
    accounts: tuple[Account, ...]
    groups: tuple[Group, ...]

    @property
    def directory(self) -> Directory:
        return Directory(ORG, self.accounts, self.groups)


def folded(text: str) -> str:
    """What two ids must differ in."""
    return Directory(ORG, [Account(text, "", ("",), ())], ()).account(text).id.strip().casefold()  # type: ignore[union-attr]


# Made once: each strategy that is made while an example is drawn is checked anew.
GROUP_IDS = st.lists(TEXTS.filter(str.strip), max_size=5, unique_by=folded)
ACCOUNT_IDS = st.lists(st.sampled_from(["a", "B-2", "88-uv"]) | TEXTS.filter(str.strip), max_size=6, unique_by=folded)
HAS_EVERYONE = st.integers(0, 4).map(bool)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    ids = draw(GROUP_IDS)
    groups = [Group(each, draw(TEXTS)) for each in ids]
    if draw(HAS_EVERYONE):
        groups.append(Group(EVERYONE, "Everyone", "builtIn"))
    held = st.sampled_from([*(group.id for group in groups), EVERYONE, "unknown"])
    memberships = st.none() | st.lists(held, unique=True, max_size=5).map(tuple)
    keys = draw(ACCOUNT_IDS)
    accounts = [
        Account(key, draw(TEXTS), (draw(TEXTS),), draw(memberships), draw(TEXTS), draw(TEXTS))
        for key in keys
        if key.strip()
    ]
    return World(tuple(accounts), tuple(groups))


def exported(world: World, *, by_id: bool) -> tuple[list[ExportedAccount], tuple[str, ...]]:
    exporter = Exporter(ORG, world.groups, by_id=by_id, fits=fits)
    return exporter.rows(world.accounts), exporter.notes


def planned(world: World, rows: Sequence[ExportedAccount], kind: str) -> Plan:
    """What a run of this file would do."""
    with tempfile.TemporaryDirectory() as folder:
        file = open_export(Path(folder) / f"accounts.{kind}", ROBOT_ACCOUNTS.export_columns, replace=False)
        try:
            file.write(rows)
            file.finish()
            path = file.target.commit(replace=False)
        finally:
            file.discard()
        with open_sheet(path, isolated=False) as sheet:
            found = [row for chunk in sheet.chunks() for row in chunk]
            columns, notes = sheet.info.columns(), sheet.info.notes
    assert notes == ()
    assert [row_error for row in found for row_error in row.row_errors] == []
    assert len(found) == sum(row.cells is not None for row in rows), "a row each, and none for what is left out"
    desired_states = [row.request for row in found if row.request is not None]
    resolution = resolve(desired_states, world.directory, columns)
    assert resolution.row_errors == ()
    return build_plan(resolution, world.directory)


VENDOR = World(
    (Account("88-uv", "roby", ("Roby",), ("gryff-01", EVERYONE)), Account("a", "b", ("",), ())),
    (Group(EVERYONE, "Everyone", "builtIn"), Group("gryff-01", "gryff-01"), Group("f", "Finance")),
)


SAME_NAMES = World((Account("!clear", "same", ("A",), ()), Account("b", "same", ("B",), ())), VENDOR.groups)


@FORMATS
@LAW
@given(world=worlds(), by_id=st.booleans())
@example(world=VENDOR, by_id=False)
@example(world=VENDOR, by_id=True)
@example(world=SAME_NAMES, by_id=False)
@example(world=SAME_NAMES, by_id=True)
def test_an_export_that_is_run_unchanged_sends_nothing(world: World, by_id: bool, kind: str) -> None:
    rows, _ = exported(world, by_id=by_id)
    plan = planned(world, rows, kind)
    assert plan.changes == ()
    assert [desired.account_id for desired in plan.unchanged] == [
        row.account.id for row in rows if row.cells is not None
    ]


def can_be_listed(group: Group, directory: Directory, kind: str) -> bool:
    """Whether an edited list of such a file can give the group, by its id."""
    if kind == "xlsx" and _NOT_XML.search(group.id):  # the writer replaces what no XML file can hold
        return False
    cell = parse_list(list_cell([group.id]))
    return cell.items == (group.id,) and not cell.problems and directory.groups_matching(group.id) == (group,)


@FORMATS
@LAW
@given(world=worlds(), data=st.data())
@example(world=VENDOR, data=None)
def test_an_export_that_is_edited_in_one_cell_sends_just_that_edit(
    world: World, data: st.DataObject | None, kind: str
) -> None:
    rows, _ = exported(world, by_id=False)
    at = [index for index, row in enumerate(rows) if row.cells is not None]
    if not at:
        return
    known = [group for group in world.groups if can_be_listed(group, world.directory, kind)]
    if data is None:
        index, column, groups, name = 0, 3, known[1:], "New name"
    else:
        index, column = data.draw(st.sampled_from(at)), data.draw(st.sampled_from([2, 3]))
        groups = data.draw(st.lists(st.sampled_from(known), max_size=3, unique=True)) if known else []
        name = data.draw(PLAIN | st.just("!clear"))
    account, cells = rows[index].account, rows[index].cells
    assert cells is not None
    if column == 3 and any(group.name.casefold() == "everyone" for group in groups) and data is not None:
        groups = [group for group in groups if group.id == EVERYONE]
    edit = name if column == 2 else list_cell([group.id for group in groups]) or "!clear"
    rows[index] = rows[index]._replace(cells=(*cells[:column], edit, *cells[column + 1 :]))
    plan = planned(world, rows, kind)
    everyone = world.directory.everyone_id or EVERYONE
    if column == 2:
        wanted = "" if name == "!clear" else name
        expected = [] if wanted == account.values[0] else [(account.id, wanted, (), ())]
    else:
        wanted_ids = {group.id for group in groups} - {everyone}
        before = {each.id for each in world.groups} if account.group_ids is None else set(account.group_ids)
        add = wanted_ids if account.group_ids is None else wanted_ids - before
        # Where no group is known to be Everyone, one that the list lacks may be it, and stays.
        fixed = {everyone} | ({"unknown"} if not world.directory.everyone_id else set())
        remove = before - wanted_ids - fixed
        expected = [(account.id, account.values[0], tuple(sorted(add)), tuple(sorted(remove)))]
        expected = [each for each in expected if each[2] or each[3]]
    changes = [(c.account_id, c.values[0], tuple(sorted(c.add)), tuple(sorted(c.remove))) for c in plan.changes]
    assert changes == expected


ORDINARY = st.builds(
    Account,
    st.uuids().map(str),
    PLAIN.map(str.strip),
    st.tuples(PLAIN.map(str.strip)),
    st.sets(st.sampled_from(["g-1", "g-2", "g-3", EVERYONE])).map(tuple),
)
ORDINARY_GROUPS = (
    Group(EVERYONE, "Everyone", "builtIn"),
    Group("g-1", "Sales, EU"),
    Group("g-2", 'The "Best"; Labs'),
    Group("g-3", "[Audit | Risk]"),
)


@LAW
@given(st.lists(ORDINARY, max_size=5, unique_by=lambda account: account.id))
def test_nothing_ordinary_is_left_blank(accounts: list[Account]) -> None:
    names = {group.id: group.name for group in ORDINARY_GROUPS}
    rows, notes = exported(World(tuple(accounts), ORDINARY_GROUPS), by_id=False)
    assert notes == ()
    for row, account in zip(rows, accounts, strict=True):
        assert row.cells is not None
        assert row.cells[:3] == (account.id, account.name, account.values[0])
        held = {names[each] for each in account.group_ids or () if each != EVERYONE}
        assert set(parse_list(row.cells[3]).items) == held


@LAW
@given(worlds())
def test_what_is_left_blank_is_told_and_nothing_else_is(world: World) -> None:
    rows, notes = exported(world, by_id=False)
    lost = [0, 0, 0]
    for row in rows:
        if row.cells is not None:
            shown = (row.account.id, row.account.name, row.account.values[0])
            lost = [count + bool(text and not cell) for count, text, cell in zip(lost, shown, row.cells, strict=False)]
    words = ("cannot hold the ids", "cannot hold the names", "cannot hold the display names")
    assert [any(word in note for note in notes) for word in words] == [count > 0 for count in lost]
    silent = any(account.group_ids is None for account in world.accounts)
    assert any("does not say the groups" in note for note in notes) == silent
    assert any("left out" in note for note in notes) == any(row.cells is None for row in rows)


def test_the_headers_are_known_or_near_to_none_that_are() -> None:
    assert fields_for_headers(ROBOT_ACCOUNTS.export_columns) == (*ROBOT_ACCOUNTS.export_columns[:4], "", "")
    assert [near_miss(header) for header in ROBOT_ACCOUNTS.export_columns[4:]] == ["", ""]


@pytest.mark.parametrize(
    ("account", "groups", "cells", "note"),
    [
        (Account("1", "a", ("!clear",), ("f",)), VENDOR.groups, ("1", "a", "", "Finance"), "display names"),
        (Account("1", "a", ("A ",), ()), VENDOR.groups, ("1", "a", "", ""), "display names"),
        (Account("1", "#N/A", ("A",), ()), VENDOR.groups, ("1", "", "A", ""), "given by id alone"),
        (Account("#REF!", "a", ("A",), ("f",)), VENDOR.groups, ("", "a", "A", "Finance"), "given by name alone"),
        (Account("1", "a", ("A",), ("f", "gone")), VENDOR.groups, ("1", "a", "A", ""), "list of groups lacks"),
        (Account("1", "a", ("A",), None), VENDOR.groups, ("1", "a", "A", ""), "does not say the groups"),
        (
            Account("1", "a", ("A",), ("f", "F2")),
            (*VENDOR.groups, Group("F2", "finance")),
            ("1", "a", "A", "f; F2"),
            "not unique apart from case",
        ),
        (Account("1", "a", ("A",), ("c",)), (*VENDOR.groups, Group("c", "!clear")), ("1", "a", "A", "c"), "their ids"),
        (Account("1", "a", ("A",), (EVERYONE,)), VENDOR.groups, ("1", "a", "A", ""), ""),
    ],
)
def test_each_kind_of_text_that_a_cell_cannot_hold_is_told(
    account: Account, groups: tuple[Group, ...], cells: tuple[str, ...], note: str
) -> None:
    (row,), notes = exported(World((account,), groups), by_id=False)
    assert row.cells is not None
    assert row.cells[:4] == cells
    assert len(notes) == (1 if note else 0)
    assert note in "".join(notes)


@LAW
@given(st.lists(TEXTS, max_size=4))
def test_a_list_cell_reads_as_what_it_was_made_of(items: list[str]) -> None:
    """Whatever a list can hold at all comes back; the rest is called a problem, never another list."""
    cell = parse_list(list_cell(items))
    if not (cell.problems or cell.clear):
        assert cell.keys == frozenset().union(*(parse_list(list_cell([item])).keys for item in items))
