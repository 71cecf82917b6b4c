"""Sheets of text that tests write."""

import csv
from collections.abc import Sequence
from pathlib import Path


def sheet_of(folder: Path, rows: Sequence[Sequence[str]], name: str = "sheet.csv") -> Path:
    """Write a sheet of text."""
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def renames(folder: Path, count: int, prefix: str = "New", name: str = "sheet.csv") -> Path:
    """A sheet that gives so many robots another display name."""
    rows = [("name", "display_name"), *((f"robot-{n:04d}", f"{prefix} {n}") for n in range(1, count + 1))]
    return sheet_of(folder, rows, name)
