"""Write the sample sheets that fit the sandbox: ``python sample_data/make_samples.py``.

The same files come out every time. ``robot_accounts.csv`` and ``robot_accounts.xlsx`` hold the same rows, one kind
of change after the other; ``migration.csv`` is a long list by id, as a migration brings it along. ``onboarding.csv``
creates accounts, some of them in groups that do not exist yet; ``retire.csv`` deletes accounts that never logged in.
"""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path

from bulkid.model import SANDBOX_ORGANIZATION
from bulkid.sandbox.fixtures import seeded_organization
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.organization import AccountRecord, GroupRecord, Organization

HEADERS = (
    "Robot Id",
    "Robot Account",
    "Display Name",
    "Groups To Add",
    "Groups To Remove",
    "Groups",
    "What This Row Shows",
)
LINE_HEIGHT = 15  # points
WIDTHS = (38, 16, 24, 40, 20, 26, 50)
MIGRATION_HEADERS = ("robotAccountId", "displayName", "groupIDsToAdd", "groupIDsToRemove")
MIGRATION_ROWS = 5000
ONBOARDING_HEADERS = ("action", "name", "display_name", "groups_to_add")
ONBOARDING_ROWS = 500
ONBOARDED_TEAMS = (  # name, prefix of its robots, their groups: the first of each is new
    ("Claims Desk", "CLM", ("Claims Desk", "Automation Users")),
    ("Warehouse West", "WHW", ("Warehouse West", "Logistics", "Automation Users")),
    ("Tax Returns", "TAX", ("Tax Returns", "Finance", "Automation Users")),
    ("Payroll", "PAY", ("Payroll", "HR", "Automation Users")),
)
RETIRE_HEADERS = ("robot_account_id", "name", "partition_global_id", "action")
RETIRED = 8
CLEAR = "!clear"
DEPARTMENTS = ("Finance", "Trainees", "HR", "Legal", "Logistics", "Payroll", "Procurement", "Customer Care")
WORLD_NAMES = (
    *("Müller", "Zoë", "Łukasz", "Ångström", "北京", "東京-経理", "서울 로봇"),
    *("Робот-1", "Ελένη", "روبوت-مالي", "🤖-one"),
)
WORLD_GROUPS = ("営業部", "Бухгалтерия", "مالية", "Zürich", "Night Shift 🌙")


@dataclass(frozen=True)
class SampleRow:
    """One row: the account, what is wanted of it, and how the cells say so."""

    account: AccountRecord
    note: str
    display_name: str | None = None  # None: the cell is blank; "": !clear
    add: tuple[GroupRecord, ...] = ()
    remove: tuple[GroupRecord, ...] = ()
    exact: tuple[GroupRecord, ...] | None = None
    by_id: bool = False
    by_name: bool = True
    style: str = "names"  # of the list cells: names | ids | json | lines

    def cells(self) -> tuple[str, ...]:
        """The row as the sheet shows it."""
        return (
            self.account.id if self.by_id else "",
            self.account.name if self.by_name else "",
            CLEAR if self.display_name == "" else self.display_name or "",
            list_cell(self.add, self.style),
            list_cell(self.remove, self.style),
            CLEAR if self.exact == () else list_cell(self.exact or (), self.style),
            self.note,
        )


def list_cell(groups: Sequence[GroupRecord], style: str) -> str:
    """Several groups in one cell."""
    if style == "ids":
        return "; ".join(group.id for group in groups)
    if style == "json":
        return "[" + ", ".join(f'"{group.name}"' for group in groups) + "]" if groups else ""
    quoted = [f'"{group.name}"' if set(group.name) & set(";,|") else group.name for group in groups]
    return ("\n" if style == "lines" else "; ").join(quoted)


class Picker:
    """Hands out plain robots in order, each once, by what is true of them."""

    def __init__(self, directory: Organization) -> None:
        self._left = [account for account in directory.accounts.values() if account.name.startswith("robot-")]

    def any(self) -> AccountRecord:
        """The next robot."""
        return self._left.pop(0)

    def named(self) -> AccountRecord:
        """The next robot that has a display name."""
        return self._take(lambda account: bool(account.display_name))

    def outside(self, *groups: GroupRecord) -> AccountRecord:
        """The next robot that is in none of the groups."""
        return self._take(lambda account: not any(group.id in account.group_ids for group in groups))

    def inside(self, group: GroupRecord, *, outside: GroupRecord | None = None) -> AccountRecord:
        """The next robot that is in one group, and not in another."""
        return self._take(lambda account: group.id in account.group_ids and not _is_in(account, outside))

    def _take(self, fits: Callable[[AccountRecord], bool]) -> AccountRecord:
        found = next(account for account in self._left if fits(account))
        self._left.remove(found)
        return found


def _is_in(account: AccountRecord, group: GroupRecord | None) -> bool:
    return group is not None and group.id in account.group_ids


def account_rows(directory: Organization) -> list[SampleRow]:
    """The rows of ``robot_accounts``, in sheet order: one of each kind first, the bulk after."""
    pick = Picker(directory)
    groups = [directory.group_named(name) for name in DEPARTMENTS]
    return [
        *first_rows(directory, pick),
        *world_rows(directory),
        *list_rows(directory, pick),
        *idle_rows(pick, groups),
        *bulk_rows(pick, groups),
    ]


def first_rows(directory: Organization, pick: Picker) -> Iterator[SampleRow]:
    """What a newcomer should see first."""
    finance, trainees, users = (directory.group_named(name) for name in ("Finance", "Trainees", "Automation Users"))
    vendor, alumni = directory.account("88-uv"), directory.group("alumni-02")
    yield SampleRow(vendor, "The example of the vendor's API guide", add=(alumni,), by_id=True, by_name=False)
    yield SampleRow(vendor, "The same account by name: merged into one request", display_name="Robbie")
    yield SampleRow(pick.any(), "Rename", display_name="Invoice Robot North")
    yield SampleRow(pick.outside(finance), "Join a group; blank cells change nothing", add=(finance,))
    mover = pick.inside(trainees, outside=finance)
    yield SampleRow(mover, "Join one group, leave another", add=(finance,), remove=(trainees,))
    for _ in range(4):
        yield SampleRow(pick.named(), "!clear takes the display name away", display_name="")
    for _ in range(3):
        yield SampleRow(pick.outside(finance), "Exactly these groups (Everyone stays)", exact=(finance, users))
    yield SampleRow(pick.inside(finance), "!clear here: in no group but Everyone", exact=())
    for number in range(1, 11):
        name = f"Ledger Bot {number}"
        yield SampleRow(pick.any(), "Id and name both given: they must agree", display_name=name, by_id=True)


def world_rows(directory: Organization) -> Iterator[SampleRow]:
    """Accounts and groups in other scripts."""
    groups = cycle([directory.group_named(name) for name in WORLD_GROUPS])
    for name, group in zip(WORLD_NAMES, groups, strict=False):
        account = directory.account_named(name)
        yield SampleRow(account, "Any script will do", display_name=f"{name} ✓", add=(group,))


def list_rows(directory: Organization, pick: Picker) -> Iterator[SampleRow]:
    """The ways to write several groups into one cell."""
    hr, legal, sales, labs, audit = (
        directory.group_named(name) for name in ("HR", "Legal", "Sales, EU", "R&D; Labs", "Audit | Risk")
    )
    for _ in range(4):
        yield SampleRow(pick.outside(hr, legal), "Several groups in one cell, separated by ;", add=(hr, legal))
    for _ in range(3):
        yield SampleRow(pick.outside(sales, hr), "A name that holds a separator is quoted", add=(sales, hr))
    yield SampleRow(pick.outside(labs, audit), "A name that holds a separator is quoted", add=(labs, audit))
    yield SampleRow(pick.outside(sales, legal), "A JSON array does as well", add=(sales, legal), style="json")
    yield SampleRow(pick.outside(hr, legal), "One group per line does as well", add=(hr, legal), style="lines")
    yield SampleRow(pick.outside(hr, legal), "Group ids do as well", add=(hr, legal), style="ids")


def idle_rows(pick: Picker, groups: Sequence[GroupRecord]) -> Iterator[SampleRow]:
    """Rows that ask for what is so already: no request is sent for them."""
    for _ in range(8):
        account = pick.named()
        yield SampleRow(account, "Nothing to do: this is its name already", display_name=account.display_name)
    for group in groups:
        yield SampleRow(pick.inside(group), "Nothing to do: it is in this group already", add=(group,))
    for group in groups:
        yield SampleRow(pick.outside(group), "Nothing to do: it is not in this group anyway", remove=(group,))


def bulk_rows(pick: Picker, groups: Sequence[GroupRecord]) -> Iterator[SampleRow]:
    """Plenty of ordinary changes, enough of them to meet Automation Cloud's limit of 160."""
    for _ in range(40):
        account = pick.any()
        yield SampleRow(account, "Rename", display_name=f"Invoice Robot {account.name[6:]}")
    for group in islice(cycle(groups), 40):
        yield SampleRow(pick.outside(group), "Join a group", add=(group,))
    for group in islice(cycle(groups), 16):
        yield SampleRow(pick.outside(group), "The same by ids", add=(group,), by_id=True, by_name=False, style="ids")
    for group in islice(cycle(groups), 16):
        yield SampleRow(pick.inside(group), "Leave a group", remove=(group,))
    for old, new in islice(cycle(zip(groups, [*groups[1:], groups[0]], strict=True)), 20):
        account = pick.inside(old, outside=new)
        name = f"{new.name} {account.name[6:]}"
        yield SampleRow(account, "Move to another group under a new name", display_name=name, add=(new,), remove=(old,))


def migration_rows(directory: Organization) -> Iterator[tuple[str, ...]]:
    """The rows of ``migration.csv``: every robot joins its new department by id, one in five is renamed."""
    groups = [directory.group_named(name) for name in DEPARTMENTS[:4]]
    robots = (account for account in directory.accounts.values() if account.name.startswith("robot-"))
    for number, account in enumerate(islice(robots, MIGRATION_ROWS)):
        new, old = groups[number % 4], groups[(number + 1) % 4]
        leaves = old.id if old.id in account.group_ids else ""
        yield account.id, f"PROD {account.name}" if number % 5 == 0 else "", new.id, leaves


def onboarding_rows() -> Iterator[tuple[str, ...]]:
    """The rows of ``onboarding.csv``: the robots of four teams; three of these have no group yet."""
    for number in range(ONBOARDING_ROWS):
        team, prefix, groups = ONBOARDED_TEAMS[number % len(ONBOARDED_TEAMS)]
        place = number // len(ONBOARDED_TEAMS) + 1
        yield "create", f"{prefix}-{place:03d}", f"{team} robot {place}", "; ".join(groups)


def retire_rows(directory: Organization) -> Iterator[tuple[str, ...]]:
    """The rows of ``retire.csv``: the first robots that never logged in, as an export with an action writes them."""
    robots = (account for account in directory.accounts.values() if account.name.startswith("robot-"))
    unused = (account for account in robots if account.last_login is None)
    for account in islice(unused, RETIRED):
        yield account.id, account.name, SANDBOX_ORGANIZATION, "delete"


def write_csv(path: Path, headers: Sequence[str], rows: Iterable[Sequence[str]], encoding: str) -> None:
    """Write a CSV file, with the same line ending on every system."""
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(headers)
        writer.writerows(rows)


def write_xlsx(path: Path, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a workbook whose cells are all text, dressed for a first look."""
    import xlsxwriter

    with xlsxwriter.Workbook(path) as book:
        created = datetime(2026, 1, 1)  # noqa: DTZ001 - a workbook's properties know no time zone
        book.set_properties({"title": "Robot accounts", "created": created})
        head = book.add_format({"bold": True, "font_color": "#FFFFFF", "bg_color": "#1F4E79", "valign": "vcenter"})
        text = book.add_format({"num_format": "@", "align": "left", "valign": "top", "text_wrap": True})
        note = book.add_format({"font_color": "#7F7F7F", "italic": True, "valign": "top"})
        sheet = book.add_worksheet("Robot accounts")
        for column, (header, width) in enumerate(zip(headers, WIDTHS, strict=True)):
            dress = note if column == len(headers) - 1 else text
            sheet.set_column(column, column, width, dress)
            sheet.write_string(0, column, header, head)
            for number, row in enumerate(rows, 1):
                if row[column]:
                    sheet.write_string(number, column, row[column], dress)
        for number, row in enumerate(rows, 1):
            sheet.set_row(number, LINE_HEIGHT * max(map(lines_of, row, WIDTHS)))
        sheet.set_row(0, 22)
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, len(rows), len(headers) - 1)
        sheet.set_landscape()
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(0)


def lines_of(cell: str, width: int) -> int:
    """How many lines a cell takes in a column of this many characters."""
    return sum(1 + len(line) // width for line in cell.split("\n"))


def write_samples(folder: Path) -> None:
    """Write the sample sheets into a folder."""
    directory = seeded_organization(SandboxOptions())
    rows = [row.cells() for row in account_rows(directory)]
    # With a byte order mark: without it, a double click on Windows shows the wrong letters.
    write_csv(folder / "robot_accounts.csv", HEADERS, rows, "utf-8-sig")
    write_xlsx(folder / "robot_accounts.xlsx", HEADERS, rows)
    write_csv(folder / "migration.csv", MIGRATION_HEADERS, migration_rows(directory), "utf-8")
    write_csv(folder / "onboarding.csv", ONBOARDING_HEADERS, onboarding_rows(), "utf-8")
    write_csv(folder / "retire.csv", RETIRE_HEADERS, retire_rows(directory), "utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    write_samples(target)
    print(f"Wrote the sample sheets to {target}.")
