"""A plan in a terminal: a mark for each change, whole names at any width; one line for each account in a pipe."""

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bulkid.cli.plan_view import MAX_LISTED, Layout, Line, layout, plan_lines, print_plan
from bulkid.cli.render import EscapingConsole
from bulkid.model import Account, Change, Group
from bulkid.planning.directory import Directory
from bulkid.runs import Preview, descriptions
from bulkid.text import printable_line
from tests.support.planning_world import LAW, ORG, account, directory, request
from tests.support.previews import creation, deletion, preview_of, with_changes
from tests.support.terminal_text import NASTY, STYLE, assert_safe

GROUPS = (Group("g-all", "Everyone", "builtIn"), Group("g-fin", "Finance"), Group("g-tra", "Trainees"))
TEXTS = st.text(
    # without characters that are shown as escapes
    st.characters(codec="utf-8", exclude_categories=["Mn", "Me"]).filter(
        lambda letter: printable_line(letter) == letter
    ),
    max_size=70,
)


def shown(made: Preview, *, width: int = 80, terminal: bool = False, **options: bool | int) -> str:
    stream = io.StringIO()
    console = EscapingConsole(
        file=stream,
        width=width,
        force_terminal=terminal,
        color_system="standard" if terminal else None,
        markup=False,
        highlight=False,
    )
    print_plan(console, made, **options)  # type: ignore[arg-type]  # of one of two types
    return stream.getvalue()


def change(name: str, before: str | None = "Roby", after: str = "Robbie", groups: Sequence[str] = ()) -> Change:
    was = None if before is None else Account("88-uv", name, (before,), ())
    return Change("88-uv", name, (after,), sets_fields=before != after, add=tuple(groups), remove=(), before=was)


@pytest.mark.parametrize(
    ("before", "after", "mark", "words"),
    [
        ("Roby", "Robbie", "~", "display name: Roby -> Robbie"),
        ("Roby", "", "-", 'display name "Roby"'),
        (None, "", "-", "display name"),
        ("", "Robbie", "+", 'display name "Robbie"'),
        (None, "Robbie", "~", "display name: -> Robbie"),
    ],
)
def test_a_name_that_goes_away_looks_like_nothing_else(before: str | None, after: str, mark: str, words: str) -> None:
    made = change("Roby01", before, after)
    assert list(descriptions.marked_changes(made, Directory(ORG, (), GROUPS))) == [(mark, words)]


def test_each_change_has_a_mark_and_its_colour() -> None:
    made = preview_of([request(2, "88-uv", display_name="Robbie", add=("Trainees",), remove=("Finance",))])
    plain, coloured = shown(made), shown(made, terminal=True)
    assert plain.startswith(
        "Account  Changes (~ new value, + added, - removed)\n"
        "Roby01   ~ display name: Roby -> Robbie  + Trainees  - Finance\n\n"
        "Plan: 1 to change, 0 already correct, 0 invalid\n"
        "  1 rename, 1 join, 1 leave\n"
        "  Finance -1 · Trainees +1\n"
        "Estimated time: under 10 seconds (1 request).\n"
    )
    assert STYLE.sub("", coloured) == plain
    for words in ("\x1b[33m~ display name", "\x1b[32m+ Trainees", "\x1b[31m- Finance", "\x1b[32m+1", "\x1b[31m-1"):
        assert words in coloured


def test_details_of_sending_are_shown_only_where_they_are_asked_for() -> None:
    made = preview_of([request(2, "88-uv", display_name="Robbie")])
    assert "Reading took" not in shown(made)
    assert "  Reading took 2 GETs, 1 POST.\n" in shown(made, verbose=1)
    assert plan_lines(made)[-1] == "Organisation acme (3fa85f64...) at cloud.uipath.com"


def test_all_accounts_are_shown_only_where_they_are_asked_for() -> None:
    known = directory([account(f"a-{number}", f"robot-{number}", "Old") for number in range(MAX_LISTED + 2)])
    made = preview_of([request(number, f"a-{number}", display_name="New") for number in range(MAX_LISTED + 2)], known)
    assert shown(made).count(" -> New") == MAX_LISTED
    assert "... and 2 more accounts (--all shows them)\n" in shown(made)
    assert shown(made, show_all=True).count(" -> New") == MAX_LISTED + 2
    assert "more account" not in shown(made, show_all=True)


def with_deletions(count: int) -> Preview:
    known = directory([account(f"a-{number}", f"robot-{number}", "Old") for number in range(MAX_LISTED + 2)])
    made = preview_of([request(number, f"a-{number}", display_name="New") for number in range(MAX_LISTED + 2)], known)
    gone = [
        account(f"old-{number}", f"PROD-{number}")._replace(created="2023-11-30T00:00:00Z") for number in range(count)
    ]
    return with_changes(made, *map(deletion, gone), creation("bot-1", "Bot One", ("night",)), new_groups=["Night"])


@pytest.mark.parametrize("terminal", [False, True])
def test_every_deletion_is_listed_however_many_there_are(terminal: bool) -> None:
    text = STYLE.sub("", shown(with_deletions(150), terminal=terminal, width=100))
    lines = text.splitlines()
    assert [line for line in lines if "- delete account" in line] == [
        f"PROD-{number}".ljust(10) + f"- delete account old-{number} (never logged in, created 2023-11-30)"
        for number in range(150)
    ]
    assert not any(line.startswith("bot-1 ") for line in lines)
    every = STYLE.sub("", shown(with_deletions(150), terminal=terminal, width=100, show_all=True))
    assert '\nbot-1     + new account  + display name "Bot One"  + Night\n' in every
    assert "... and 3 more accounts (--all shows them)" in lines, "of those that are not deleted"
    at = lines.index("150 accounts will be deleted. Deletions cannot be undone.")
    assert lines[at + 1].startswith("PROD-0 ")
    assert "Plan: 1 to create, 22 to change, 150 to delete, 0 already correct, 0 invalid" in lines
    assert "  1 new group: Night" in lines
    assert "  Delete 150 accounts: 2 DELETEs, no waiting" in lines


@pytest.mark.parametrize(("width", "ends"), [(48, "logged"), (49, "in,"), (57, "created"), (80, "2023-11-30)")])
def test_a_deletion_that_is_wider_than_a_line_breaks_between_words(width: int, ends: str) -> None:
    lines = STYLE.sub("", shown(with_deletions(1), terminal=True, width=width)).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("PROD-0 "))
    assert lines[at].endswith(ends)
    text = "".join(line[9:] for line in lines[at : lines.index("", at)])
    assert text == "- delete account old-0 (never logged in, created 2023-11-30)"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_hostile_name_stays_text(terminal: bool) -> None:
    known = directory([account("a-1", NASTY, NASTY, ("g-fin",))], [*GROUPS, Group("g-x", NASTY)])
    made = preview_of([request(2, "a-1", display_name="New", add=("g-x",), remove=("g-fin",))], known)
    assert_safe(shown(made, terminal=terminal, width=60, verbose=1))
    gone = account("id\x1b[31m", NASTY)._replace(last_login=NASTY, created=NASTY)
    whole = with_changes(preview_of((), known), deletion(gone), creation(NASTY, NASTY), new_groups=[NASTY])
    assert_safe(shown(whole, terminal=terminal, width=60, verbose=1))


@LAW
@given(st.lists(TEXTS, min_size=1, max_size=3), TEXTS, TEXTS, st.sampled_from([60, 80, 120, None]))
def test_every_line_fits_and_no_letter_is_lost(names: list[str], before: str, after: str, width: int | None) -> None:
    groups = [Group(f"g-{number}", name or "-") for number, name in enumerate(names)]
    made = change(names[0] or "x", before, after, [group.id for group in groups])
    known = Directory(ORG, (), groups)
    columns = layout([made.name], width)
    lines = [plain(line) for line in columns.lines(made, known)]
    pieces = [f"{mark} {words}" for mark, words in descriptions.marked_changes(made, known)]
    if width is None:
        assert lines == [f"{made.name.ljust(columns.name + len(made.name) - cell_len(made.name))}  {'  '.join(pieces)}"]
        return
    assert max(map(cell_len, lines)) <= width
    assert _letters(lines) == _letters([made.name, *pieces])


def plain(line: Line) -> str:
    return "".join(segment.text for segment in line)


def _letters(texts: Sequence[str]) -> str:
    return "".join("".join(texts).split())


def test_a_name_that_is_too_long_has_lines_of_its_own() -> None:
    made = change("robot-" + "x" * 100, groups=["g-fin"])
    columns = layout([made.name, "roby"], 60)
    lines = [plain(line) for line in columns.lines(made, Directory(ORG, (), GROUPS))]
    assert columns == Layout(7, 51)
    assert lines == [made.name[:60], made.name[60:], "         ~ display name: Roby -> Robbie  + Finance"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_line_of_groups_names_as_many_as_fit(width: int) -> None:
    groups = [Group("g-all", "Everyone", "builtIn"), *(Group(f"g-{n}", f"Group number {n}") for n in range(9))]
    made = preview_of([request(2, "88-uv", add=tuple(group.id for group in groups[1:]))], directory(groups=groups))
    (line,) = [line for line in shown(made, width=width, terminal=True).splitlines() if " · " in line]
    plain = STYLE.sub("", line)
    assert cell_len(plain) <= width
    assert plain.endswith("more groups")
