"""Removing a run's report: the files that bulkid wrote, and nothing else that somebody has put beside them."""

from dataclasses import dataclass
from pathlib import Path

from bulkid.report.atomic import reason
from bulkid.report.formats import is_report_file


@dataclass(frozen=True, slots=True)
class Removed:
    """What came of removing a report."""

    bytes: int = 0  # room that it took
    kept: str = ""  # why the folder is still there, as a sentence; empty when it is gone


def remove_report(folder: Path, run_id: str) -> Removed:
    """Remove the report files of a run, and its folder if nothing else is in it; never raises.

    A folder that is not named after the run, or that is a link to another place, is none of bulkid's making and is
    left alone.

    Args:
        folder: Where the journal says that the report is.
        run_id: The run.
    """
    if folder.name != run_id or folder.is_symlink() or not folder.is_dir():
        return Removed()
    freed, problem = 0, ""
    try:
        for path in sorted(folder.iterdir()):
            if not is_report_file(path.name) or path.is_symlink() or not path.is_file():
                problem = f"{folder} is left: {path.name} in it is not bulkid's."
                continue
            size = path.stat().st_size
            path.unlink()
            freed += size
        if not problem:
            folder.rmdir()
    except OSError as error:
        problem = f"{folder} could not be removed: {reason(error)}."
    return Removed(freed, problem)
