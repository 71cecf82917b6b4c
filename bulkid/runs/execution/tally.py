"""A small number for each entry of a run, in an array: a dictionary of 100,000 entries takes 10 MB, this 0.4."""

from array import array


class Tally:
    """Numbers by entry, all 0 at first. Entries count from 0 without large gaps, as the journal numbers them."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values = array("i")

    def __getitem__(self, number: int) -> int:
        """Give an entry's number."""
        return self._values[number] if number < len(self._values) else 0

    def __setitem__(self, number: int, value: int) -> None:
        """Set an entry's number."""
        missing = number + 1 - len(self._values)
        if missing > 0:
            self._values.frombytes(bytes(self._values.itemsize * (missing + number // 8)))
        self._values[number] = value
