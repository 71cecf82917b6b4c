"""The rows of a sheet as a run reads them: all or none, counted, and with the look-ups that they need."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import anyio.from_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import InterruptedRunError
from bulkid.model import RowError, RowRequest, SheetRow
from bulkid.runs.inputs.run_input import Rows, RunJournal
from bulkid.runs.inputs.sheet import SheetInput
from bulkid.sheet import Sheet, SheetInfo, open_sheet
from bulkid.text import fold

TEXTS = st.sampled_from(["a", "A", "b", "c"])
GROUPS = st.lists(TEXTS, max_size=2).map(tuple)
REQUESTS = st.builds(
    RowRequest,
    row=st.just(2),
    account_id=TEXTS,
    name=TEXTS,
    values=st.just((None,)),
    add=GROUPS,
    remove=GROUPS,
    exact=st.none() | GROUPS,
    partition=st.just(""),
)
INFO = SheetInfo("s.csv", "csv", "", "utf-8", ",", ("name",), ("name",))


@pytest.fixture
def sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sheet:
    """Nine rows, in chunks of three records at most."""
    monkeypatch.setattr("bulkid.runs.inputs.sheet.CHUNK_ROWS", 3)
    path = tmp_path / "s.csv"
    path.write_text("name\n" + "".join(f"r{number}\n" for number in range(9)))
    return open_sheet(path)


class Chunks:
    """Takes the rows in the place of a journal, and calls a function for each chunk."""

    def __init__(self, then: Any = lambda: None) -> None:
        self.sizes: list[int] = []
        self.then = then

    def add_rows(self, _run_id: str, rows: list[SheetRow]) -> None:
        self.sizes.append(len(rows))
        self.then()

    @property
    def journal(self) -> RunJournal:
        return RunJournal(cast("Any", SimpleNamespace(add_rows=self.add_rows)), "run")


async def test_all_rows_are_journaled_chunk_by_chunk_and_the_sheet_is_closed(sheet: Sheet) -> None:
    chunks = Chunks()
    rows = await SheetInput(sheet, "s.csv").read(chunks.journal)
    assert chunks.sizes == [1, 3, 3, 2]
    assert (rows.count, rows.accounts, [request.name for request in rows.requests]) == (
        9,
        9,
        [f"r{number}" for number in range(9)],
    )
    with pytest.raises(ValueError, match="closed file"):
        next(sheet.chunks())


@pytest.mark.parametrize("last", [4, 9])
async def test_a_reading_that_is_cancelled_gives_no_rows(sheet: Sheet, last: int) -> None:
    cancelled = threading.Event()
    sheet.token.on_cancel(cancelled.set)

    def cancel_at_last() -> None:
        if sum(chunks.sizes) == last:
            anyio.from_thread.run_sync(scope.cancel)
            cancelled.wait()

    chunks = Chunks(cancel_at_last)
    with anyio.CancelScope() as scope:
        with sheet:
            await SheetInput(sheet, "s.csv").read(chunks.journal)
            raise AssertionError
    assert scope.cancelled_caught
    assert sum(chunks.sizes) == last


async def test_a_reading_whose_token_is_cancelled_gives_no_rows(sheet: Sheet) -> None:
    chunks = Chunks(sheet.token.cancel)
    with sheet, pytest.raises(InterruptedRunError, match=r"The reading of .*s\.csv was stopped"):
        await SheetInput(sheet, "s.csv").read(chunks.journal)
    assert chunks.sizes == [1]


@given(st.lists(st.lists(REQUESTS | st.none(), max_size=4), max_size=3))
def test_rows_say_what_they_need_of_the_directory(chunks: list[list[RowRequest | None]]) -> None:
    rows = Rows(INFO)
    requests: list[RowRequest] = []
    for chunk in chunks:
        rows.add(
            SheetRow(2, ("x",), request, () if request else (RowError(2, "", "", "code", "wrong"),))
            for request in chunk
        )
        requests += [request for request in chunk if request is not None]
        assert rows.accounts == len({fold(request.account_id) for request in requests})
    assert rows.requests == requests
    assert rows.count == sum(map(len, chunks))
    assert len(rows.row_errors) == rows.count - len(requests)
    lookup = rows.lookup()
    exact = [request.exact for request in requests if request.exact is not None]
    texts = {text for request in requests for text in (*request.add, *request.remove, *(request.exact or ()))}
    assert (lookup.group_texts, lookup.exact) == (texts, bool(exact))
    assert lookup.groups == bool(texts or exact)
    list(rows.release())
    assert rows.accounts == len({fold(request.account_id) for request in requests})
