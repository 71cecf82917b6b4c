"""As a library, bulkid logs to the standard library's logger; as a program, through its own configured logs."""

import subprocess
import sys

LIBRARY = """
import logging, sys
from bulkid.logs import log
log.warning("gate.closed", wait_s=1)
if "--listen" in sys.argv:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    log.info("gate.opened", ok=True)
"""


def _run(*arguments: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", LIBRARY, *arguments], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_a_program_that_did_not_ask_for_logs_sees_none() -> None:
    assert _run() == ("", "")


def test_a_program_that_listens_to_the_logger_bulkid_hears_the_events() -> None:
    assert _run("--listen") == ("", "bulkid INFO gate.opened {'ok': True}\n")
