r"""Text that other people wrote, made safe to show: names, file names, cells and a server's messages may hold anything.

A terminal obeys control characters, and bidirectional controls reorder what is read, so that a plan could show other
changes than those that are sent. Such characters are shown as escapes (``\x1b``, ``\u202e``). Files of data keep them.
"""

import re
from typing import Final

_UNSEEN: Final = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1
    r"\xad\u061c\u180e\u200b-\u200f\u2060-\u2064\ufeff\ufff9-\ufffb"  # invisible: zero width, marks of direction
    r"\u2028\u2029\u202a-\u202e\u2066-\u206f"  # line and paragraph separators, bidirectional controls
    r"\ud800-\udfff"  # half a pair: a byte of a file name that is no text
)
_ANY: Final = re.compile(f"[{_UNSEEN}]")
_ANY_OR_BREAK: Final = re.compile(rf"[\t\n{_UNSEEN}]")
_NAMED: Final = {"\t": "\\t", "\n": "\\n"}
_TWO_DIGITS: Final = 0x100


def printable(text: str) -> str:
    """Show every character that a terminal would obey or hide as an escape; line feeds and tabs stay."""
    return _ANY.sub(_escape, text)


def printable_line(text: str) -> str:
    """Like :func:`printable`, with line feeds and tabs as escapes too."""
    return _ANY_OR_BREAK.sub(_escape, text)


def printable_json(text: str) -> str:
    """Escape the same characters in a JSON text, which then holds the same data."""
    return _ANY.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: "re.Match[str]") -> str:
    character = match[0]
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < _TWO_DIGITS else f"\\u{code:04x}")
