"""A console in a process of its own."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.bulkid_command import Bulkid
from tests.support.web_console import LONGEST_S


@contextmanager
def served(bulkid: Bulkid, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A console in a process of its own: the process, its address, and the link's key ("" where there are users)."""
    process = bulkid.start("serve", "--port", "0", *options)
    assert process.stdout is not None
    said = ""
    try:
        for line in process.stdout:
            said += line
            if "Ctrl+C ends it" in line:
                break
        address = re.search(r"https?://[\w.\[\]:]+:\d+", said)
        assert address, said
        key = re.search(r"enter\?key=(\S+)", said)
        yield process, address[0], key[1] if key else ""
    finally:
        process.kill()
        process.communicate(timeout=LONGEST_S)
