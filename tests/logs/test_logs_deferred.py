"""structlog is imported for the first line that is written; the lines are as where it is imported before."""

import json
import subprocess
import sys
from itertools import product

import pytest

PROGRAM = """
import logging, sys, threading

form, verbosity, first = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
if "structlog" in first:
    import structlog
from bulkid import logs
from bulkid.logs import configure, log, run_context

logs._output.now = lambda: 1_769_846_400.25
configure(format=form, verbosity=verbosity, stream=sys.stderr)
print("structlog" in sys.modules)
with run_context("outer"):
    log.info("gate.opened", rows=1)
    with run_context("run-1"):
        if "library" in first:
            logging.getLogger("some.library").warning("of %s", "a library")
        if "error" in first:
            logging.getLogger("some.library").error("broken")
        log.info("run.started", rows=2)
        log.warning("console.run_broke", source="a\\x1bb")
        threads = [threading.Thread(target=log.warning, args=("console.tidy_failed",)) for _ in range(2)]
        for thread in threads:
            thread.start()
            thread.join()
        log.warning("console.refused", run_id="its own")
    log.warning("console.no_door")
log.warning("console.request_broke")
print("structlog" in sys.modules)
"""


def logged(form: str, verbosity: int, *first: str) -> tuple[list[str], str]:
    """Whether structlog was imported once logs were configured and at the end; and the lines."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, form, str(verbosity), *first], capture_output=True, text=True, check=True
    )
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("form", "verbosity", "first"),
    list(product(("console", "json"), (-1, 0, 1), ((), ("library",), ("library", "error")))),
)
def test_the_lines_are_the_same_whenever_structlog_is_imported(
    form: str, verbosity: int, first: tuple[str, ...]
) -> None:
    imported, lines = logged(form, verbosity, *first)
    assert lines == logged(form, verbosity, "structlog", *first)[1]
    assert imported == [str(verbosity > 0), str(bool(lines))]
    assert ("run-1" in lines) is (verbosity >= 0 or "error" in first)
    assert "Traceback" not in lines
    assert "\x1b" not in lines


def test_lines_have_the_id_of_the_run_that_they_are_about() -> None:
    _, lines = logged("json", 1)
    assert [json.loads(line)["run_id"] for line in lines.splitlines()] == [
        *("outer", "run-1", "run-1"),
        *("", ""),  # threads that nothing hands the context to
        *("its own", "outer", ""),
    ]


def test_a_program_with_structlog_of_its_own_gets_the_events_and_the_id_of_the_run() -> None:
    program = """
import structlog
as_json = structlog.processors.JSONRenderer(sort_keys=True)
structlog.configure(processors=[structlog.contextvars.merge_contextvars, as_json])
from bulkid.logs import log, run_context
with run_context("run-1"):
    log.info("run.started")
    structlog.get_logger().info("of the program")
structlog.get_logger().info("later")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        '{"event": "run.started", "run_id": "run-1"}',
        '{"event": "of the program", "run_id": "run-1"}',
        '{"event": "later"}',
    ]


def test_where_structlog_cannot_be_read_any_more_the_line_is_dropped_and_nothing_else() -> None:
    program = """
import sys
from bulkid.logs import configure, log
configure(format="json", verbosity=0, stream=sys.stderr)
sys.modules["structlog"] = None  # an import of it fails, as where too many files are open
log.warning("console.no_door")
print("goes on")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("goes on\n", "")
