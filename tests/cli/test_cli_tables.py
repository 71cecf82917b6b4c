"""Properties of tables: every line fits the terminal, and no character of a cell is lost."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from bulkid.cli.tables import Column, print_table, table_lines
from tests.support.examples import examples

CONSOLE = Console(file=io.StringIO(), width=80)
ALPHABETS = ("0123456789", "abcdefg", "ABCDEFG北京", "αβγδεζ")
"""Letters of each column: so a letter shows which cell it belongs to."""

columns = st.tuples(
    st.builds(Column, st.just(""), least=st.integers(0, 8)),
    *(
        st.builds(Column, st.just(""), least=st.integers(8, 20), most=st.integers(10, 60), below=st.booleans())
        for _ in ALPHABETS[1:]
    ),
)
row = st.tuples(
    *(
        st.text(st.sampled_from(letters + "   "), max_size=size)
        for letters, size in zip(ALPHABETS, (22, 90, 90, 300), strict=True)
    )
)


def cell_of(lines: list[Text], letters: str) -> str:
    return "".join(character for line in lines for character in line.plain if character in letters)


@pytest.mark.parametrize("width", [30, 60, 80, 120, None])
@settings(max_examples=examples(60, soak=1000), deadline=None)
@given(columns, row)
def test_every_line_fits_and_nothing_is_lost(
    width: int | None, columns: tuple[Column, ...], row: tuple[str, ...]
) -> None:
    lines = table_lines(CONSOLE, columns, [[Text(cell) for cell in row]], width)
    assert width is None or max(line.cell_len for line in lines) <= width
    for cell, letters in zip(row, ALPHABETS, strict=True):
        assert cell_of(lines, letters) == cell.replace(" ", "")
    assert all(line.plain == line.plain.rstrip() for line in lines)


def shown(width: int, cells: list[list[str]]) -> list[str]:
    table = (Column("Row"), Column("Value", least=8, most=12), Column("Problem", least=28, below=True))
    return [line.plain for line in table_lines(CONSOLE, table, [[Text(cell) for cell in row] for row in cells], width)]


def test_a_cell_hangs_under_its_own_beginning() -> None:
    assert shown(50, [["5", "#N/A", "The cell holds the spreadsheet error #N/A: fix its formula."]]) == [
        "Row  Value  Problem",
        "5    #N/A   The cell holds the spreadsheet error",
        "            #N/A: fix its formula.",
    ]


def test_on_a_narrow_terminal_the_long_cells_stand_below() -> None:
    assert shown(40, [["5", "a value", "The cell holds an error: fix it."], ["17", "b", "Short."]]) == [
        "Row  Value",
        "5    a value",
        "    The cell holds an error: fix it.",
        "17   b",
        "    Short.",
    ]


def test_a_pipe_gets_a_line_for_each_row_however_long() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    print_table(console, (Column("Run"), Column("Source", least=5)), [[Text("1"), Text("word " * 100 + "end")]])
    assert stream.getvalue() == "Run  Source\n1    " + "word " * 100 + "end\n"
