"""Which texts count as the same name or id: those that differ by case alone, letter by letter.

Two letters differ by case alone where each is the other's only counterpart: one is the lower case of the other, that
one the upper case of it, and both are single characters. So ``A`` is ``a`` and ``Ü`` is ``ü``; but ``ß`` is not
``ss``, the Kelvin sign is not ``k``, the Turkish dotless and dotted i are neither ``i`` nor ``I``, a final sigma is
not a sigma, full-width letters are not ASCII, and an accent in a character of its own is not the letter with
the accent. Servers compare such texts in different ways; taken for one another, the wrong account would be changed.
"""

import unicodedata


class _LowerCase(dict[int, int]):
    """Code points by code point, worked out when first asked for: a table for ``str.translate``."""

    def __missing__(self, point: int) -> int:
        letter = chr(point)
        lower = letter.lower()
        folded = ord(lower) if len(lower) == 1 and lower.upper() == letter else point
        self[point] = folded
        return folded


_LOWER = _LowerCase()


def fold(text: str) -> str:
    """Give the form in which ids and names compare: equal for texts that differ by case alone."""
    folded = text.lower() if text.isascii() else text.translate(_LOWER)
    return text if folded == text else folded  # the same object where possible: 100,000 keys share their text


def looks(text: str) -> str:
    """Give the form in which texts are similar: equal for texts that people may take for one another.

    For suggestions and for refusals only. Texts that look the same are not the same name.
    """
    compatible = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(compatible.split())
