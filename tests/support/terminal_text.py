"""What a terminal may be sent, and a text that tries everything else."""

import re

STYLE = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*[A-GJK])")
"""What rich itself sends to a terminal: styles, and the moves of a progress bar."""

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ud800-\udfff]"
)

NASTY = (
    "\x1b]0;title\x07 \x1b[8mhidden\x9b31m \u202eeibbor\u2066 \u200bzero\u2028line\r\x7f [red]x[/red] [link=https://e]y"
)


def assert_safe(written: str) -> None:
    """Nothing but text and rich's own styles; a progress bar goes back to the line's start."""
    left = STYLE.sub("", written)
    assert not UNSAFE.search(left.replace("\r", "")), ascii(left)
