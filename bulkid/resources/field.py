"""A field: one attribute of an account that a sheet can set, from its column to the request and back."""

from dataclasses import dataclass
from typing import Literal

from bulkid.text import count_of, quote

Mark = Literal["~", "+", "-"]
"""Signs of a new value, of what is added, and of what is removed."""


@dataclass(frozen=True, slots=True)
class Field:
    """One text attribute of a kind of account; a subclass overrides what differs for its own.

    Everywhere inside bulkid a value is a text: "" stands for none, and None for "not requested" or "not known". Only
    ``encode`` and ``decode`` know the server's JSON. Instances are immutable and hashable.
    """

    key: str
    """The column's name, and the key in JSON, in plan files and in the journal: ``display_name``."""
    property: str
    """The property's name in the server's JSON: ``displayName``."""
    label: str
    """What messages call it: ``display name``."""
    aliases: tuple[str, ...]
    """The headers that a sheet may have for it, as words; the first one is the standard header."""
    widths: tuple[int, int] = (14, 40)
    """The least and the largest width of its column in a workbook, in characters."""
    changed_words: tuple[str, str] | None = None
    """What one change to another value, and several, are called in a summary (``("rename", "renames")``); None for
    words made of the label."""
    removed_words: tuple[str, str] | None = None
    """The same of changes to no value: ``("name removed", "names removed")``."""

    def check(self, text: str) -> str:
        """Return what is wrong with the text of a cell, as a sentence that says what to do; "" when it is valid.

        Blank cells, ``!clear``, spreadsheet errors and control characters never come here.
        """
        del text
        return ""

    def normalize(self, value: str) -> str:
        """Return the form in which values compare: the server treats values with the same form as equal."""
        return value

    def equal(self, one: str | None, other: str | None) -> bool:
        """Return whether the server treats two values as equal; one that is not known equals no other."""
        if one is None or other is None:
            return one is other
        return one == other or self.normalize(one) == self.normalize(other)

    def encode(self, value: str) -> object:
        """Return the value as the server's JSON has it, for the body of a PUT."""
        return value

    def decode(self, value: object) -> str:
        """Return the value for what the server's JSON has; ``None`` stands also for a missing property.

        Raises:
            TypeError: The server never has such a value.
        """
        if value is None:
            return ""
        if type(value) is not str:
            raise TypeError(f"{self.property} is no text")
        return value

    def describe_change(self, before: str | None, after: str) -> str:
        """Describe a change on one line: ``display name: Roby -> Robbie``; ``before`` is None where it is not known."""
        old = "" if before is None else f"{before or '(none)'} "
        return f"{self.label}: {old}-> {after or '(none)'}"

    def describe_difference(self, before: str | None, after: str) -> tuple[Mark, str]:
        """Describe a change behind a mark, in which a value that goes away looks like nothing else.

        ``("~", "display name: Roby -> Robbie")``, ``("-", 'display name "Roby"')``, ``("+", 'display name "Roby"')``.
        """
        if not after:
            return "-", f'{self.label} "{before}"' if before else self.label
        if before == "":
            return "+", f'{self.label} "{after}"'
        return "~", self.describe_change(before, after)

    def change_words(self) -> tuple[str, str]:
        """What one change to another value, and several, are called: ``("rename", "renames")``."""
        return self.changed_words or (f"change of {self.label}", f"changes of {self.label}")

    def removal_words(self) -> tuple[str, str]:
        """What one change to no value, and several, are called: ``("name removed", "names removed")``."""
        return self.removed_words or (f"removal of {self.label}", f"removals of {self.label}")

    def describe_counts(self, changed: int, removed: int) -> list[str]:
        """Describe how many accounts get another value, and lose theirs: ``["5 renames", "2 names removed"]``."""
        counts = ((changed, self.change_words()), (removed, self.removal_words()))
        return [count_of(count, *words) for count, words in counts if count]

    def describe_mismatch(self, found: str | None, wanted: str) -> str:
        """Describe a value that was read back and is not as the change wanted it."""
        return f"{self.label} is {self._quoted(found, 'empty')}, not {self._quoted(wanted, 'empty')}"

    def describe_conflict(self, expected: str | None, found: str | None) -> str:
        """Describe a value that is no longer as a change expects it."""
        return f"{self.label}: expected {self._quoted(expected, 'none')}, found {self._quoted(found, 'none')}"

    def describe_contradiction(self, value: str, others: str) -> str:
        """Describe a row's value when other rows (``rows 3 and 7``) give another one for the same account."""
        return (
            f"This row asks for the {self.label} {self._quoted(value, 'cleared')}, but {others} for another one "
            "for the same account."
        )

    @staticmethod
    def _quoted(value: str | None, none: str) -> str:
        return quote(value) if value else none
