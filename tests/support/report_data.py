"""Data for the report's tests: a run, rows of every kind, and hypothesis strategies for them."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from bulkid.model import ReportRow, RunRecord, RunStatus, Status, Via
from bulkid.report.formats import ReportContent
from bulkid.report.rate import Rate
from bulkid.report.summary import build_summary
from bulkid.report.writer import OpenReport, ReportFiles, write_report

HEADERS = ("Robot", "Display Name", "Notes")

nasty_text = st.text(max_size=20) | st.builds(
    "".join,
    st.lists(
        st.sampled_from(
            [*"'=+-@\t\r\n ,;\"&<>", "\uff1d", "\u3000", "\x00", "\x1b", "_x0041_", "<r>", "</r>", "ab", "😀", "語"]
        ),
        max_size=8,
    ),
)


def a_run(**changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "run_id": "20260131-081500-ab12",
        "created_at": 1_769_846_400.0,
        "status": RunStatus.COMPLETED_WITH_FAILURES,
        "command": "run",
        "source": "robots.xlsx",
        "base_url": "https://cloud.uipath.com/acme/identity_",
        "organization_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "host": "HOST",
        "pid": 1,
        "user": "jane",
        "finished_at": 1_769_846_460.0,
        "counters": {"requests": {"GET": 2, "PUT": 3}, "planned_puts": 3, "naive_puts": 5, "elapsed_s": 60.0},
    }
    return RunRecord(**{**fields, **changes})


def a_row(row: int = 2, status: Status = Status.UPDATED, **changes: Any) -> ReportRow:
    fields: dict[str, Any] = {
        "robot_account_id": "88-uv",
        "name": "roby",
        "changes": "+ alumni-02",
        "http_status": 200,
        "error_code": "",
        "error": "",
        "attempts": 1,
        "via": Via.ACCOUNT,
        "finished_at": 1_769_846_401.25,
        "cells": ("roby", "Roby", ""),
    }
    return ReportRow(row=row, status=status, **{**fields, **changes})


@st.composite
def report_rows(draw: st.DrawFn, texts: st.SearchStrategy[str] = nasty_text, max_size: int = 12) -> list[ReportRow]:
    count = draw(st.integers(0, max_size))
    return [
        ReportRow(
            row=number + 2,
            robot_account_id=draw(texts),
            name=draw(texts),
            status=draw(st.sampled_from(Status)),
            changes=draw(texts),
            http_status=draw(st.none() | st.integers(100, 599)),
            error_code=draw(texts),
            error=draw(texts),
            attempts=draw(st.integers(0, 9)),
            via=draw(st.none() | st.sampled_from(Via)),
            finished_at=draw(st.none() | st.floats(0, 4e9)),
            cells=tuple(draw(st.lists(texts, min_size=len(HEADERS), max_size=len(HEADERS)))),
        )
        for number in range(count)
    ]


def write(
    folder: Path,
    rows: Sequence[ReportRow],
    formats: Collection[str] = (),
    *,
    headers: Sequence[str] = HEADERS,
    run: RunRecord | None = None,
    sheet_name: str = "",
    begun: OpenReport | None = None,
    rates: Sequence[Rate] = (),
    fields: Sequence[str] = (),
) -> ReportFiles:
    run = run or a_run()
    summary = build_summary(run, Counter(row.status for row in rows), len(rows), str(folder / "report.csv"))
    content = ReportContent(run, folder, headers, summary, sheet_name, rates=lambda: rates, fields=fields)
    return write_report(lambda: iter(rows), content, formats, begun)
