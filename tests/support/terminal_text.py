"""What may be printed on a terminal, and a text that tries everything else."""

import re

STYLE = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*[A-GJK])")
"""What rich itself sends to a terminal: styles, and the moves of a progress bar."""

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Controls, and what is invisible or reorders a line."""

NASTY = (
    "\x1b]0;title\x07 \x1b[8mhidden\x9b31m \u202eeibbor\u2066 \u200bzero\u2028line\r\x7f [red]x[/red] [link=https://e]y"
)


def assert_safe(written: str) -> None:
    """Nothing but text and rich's own styles; a progress bar goes back to the line's start."""
    left = STYLE.sub("", written)
    assert not UNSAFE.search(left.replace("\r", "")), ascii(left)
