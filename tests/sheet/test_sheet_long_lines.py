"""Very long lines and headers are refused or passed over before they take memory and time."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import SheetError
from bulkid.sheet import SheetOptions, open_sheet, text_format
from bulkid.sheet.headers import near_miss
from bulkid.sheet.text_format import MAX_LINE, examine

NEW_LINE = b"\n"


def reported(content: bytes) -> str:
    """What a text is refused with; empty where it is not."""
    try:
        examine(io.BytesIO(content), "s.csv", SheetOptions(), tabs=False)
    except SheetError as error:
        return str(error)
    return ""


@given(st.lists(st.sampled_from([b"a", b"abc", b"\n", b"\r", b"\r\n", b"abcdefgh"]), min_size=1).map(b"".join))
def test_a_text_is_refused_for_its_lines_just_when_one_is_too_long(content: bytes) -> None:
    lines = re.split(rb"\r|\n", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_format, "MAX_LINE", 8)
        patch.setattr(text_format, "_BLOCK", 4)
        assert ("is longer than" in reported(content)) is (max(map(len, lines)) > 8)


@pytest.mark.parametrize("before", [b"", b"name,display name\nroby,"], ids=["header", "cell"])
def test_a_line_that_no_sheet_has_is_refused_with_its_number(before: bytes) -> None:
    message = reported(before + b"x" * (MAX_LINE + 1))
    assert message.startswith(f"s.csv: line {1 + before.count(NEW_LINE)} is longer than 16 MB.")
    longest = b"name,display name\nroby," + b"x" * (MAX_LINE - 5)
    assert reported(longest) == ""
    with open_sheet(io.BytesIO(longest), name="s.csv") as sheet:
        (row,) = [row for chunk in sheet.chunks() for row in chunk]
    assert "has 16777211 characters" in row.row_errors[0].message


def test_a_long_header_is_compared_with_no_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert near_miss("dispaly name") == "display name"
    assert near_miss("dispaly name" + " x" * 1000) == ""
    monkeypatch.setattr("rapidfuzz.distance.OSA.distance", pytest.fail)
    assert near_miss("x" * 1001) == ""
