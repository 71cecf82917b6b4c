"""The one kind of console that bulkid prints with: what reaches the terminal is text, and rich's own styles alone."""

from rich.console import Console
from rich.segment import Segment

from bulkid.printable import printable


class EscapingConsole(Console):
    """A console that shows control characters as escapes, wherever in a table, a line or a progress bar they stand.

    It looks at what is about to be written, where text and style are still apart, so that no message can be forgotten.
    """

    def _write_buffer(self) -> None:
        """Make the text safe, and write."""
        if self._buffer_index == 0:
            self._buffer[:] = [
                each if each.control else Segment(printable(each.text), each.style, each.control)
                for each in self._buffer
            ]
        super()._write_buffer()
