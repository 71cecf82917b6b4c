"""A small number for each entry of a run, in an array: a dictionary of 100,000 entries takes 10 MB, this 0.4."""

from array import array


class Tally:
    """Numbers by entry, all 0 at first. Entries count from 0 without large gaps, as the journal numbers them."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = array("i")

    def __getitem__(self, entry: int) -> int:
        """Give an entry's number."""
        return self._numbers[entry] if entry < len(self._numbers) else 0

    def __setitem__(self, entry: int, number: int) -> None:
        """Set an entry's number."""
        missing = entry + 1 - len(self._numbers)
        if missing > 0:
            self._numbers.frombytes(bytes(self._numbers.itemsize * (missing + entry // 8)))
        self._numbers[entry] = number
