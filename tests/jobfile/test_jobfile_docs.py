"""The job files and schedules that the docs show are valid."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bulkid.errors import EXIT_OK, EXIT_ROWS_FAILED
from bulkid.jobfile.read import read_job
from bulkid.runs import worst_exit_code
from bulkid.runs.jobs.attempt import _UNFINISHED, WORST_LAST
from tests.support.programs import program

ROOT = Path(__file__).resolve().parents[2]
JOBS = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
SCHEDULING = (ROOT / "docs" / "scheduling.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("text", blocks(JOBS, "toml"))
def test_every_job_that_the_docs_show_is_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.toml"
    path.write_text(text, encoding="utf-8")
    assert read_job(str(path)).source


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.toml")), ids=lambda path: path.name)
def test_every_line_of_an_example_is_explained(path: Path) -> None:
    """A comment stands above each key, or above the key that it belongs to."""
    explained = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            explained = True
        elif not line.strip():
            explained = False
        else:
            assert explained, f"{path.name}: nothing explains {line!r}"
    assert read_job(str(path)).description


def test_the_docs_give_the_order_of_exit_codes() -> None:
    order = ", ".join(map(str, WORST_LAST))
    assert f"**{order}**" in JOBS
    assert order in SCHEDULING
    assert set(WORST_LAST) == set(range(7))


def test_the_worst_is_what_is_not_done_and_needs_a_person() -> None:
    assert worst_exit_code([]) == EXIT_OK
    assert worst_exit_code([EXIT_OK, EXIT_ROWS_FAILED]) == EXIT_ROWS_FAILED
    assert worst_exit_code(WORST_LAST) == 3
    finished = [code for code in WORST_LAST if code not in _UNFINISHED]
    assert all(worst_exit_code([code, unfinished]) == unfinished for code in finished for unfinished in _UNFINISHED)


def test_systemd_takes_the_units_as_they_are(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    service, timer = blocks(SCHEDULING, "ini")
    # A program that is there, and a user that is no special one.
    service = service.replace("/opt/bulkid/bin/bulkid", sys.executable)
    for name, text in (("bulkid@.service", service), ("bulkid@.timer", timer)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    names = [str(tmp_path / name) for name in ("bulkid@.service", "bulkid@.timer")]
    done = subprocess.run([analyze, "verify", *names], capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if line.startswith(str(tmp_path))]
    assert (done.returncode, complaints) == (0, [])
