"""Near names: what a person may have meant by a name that does not exist."""

from collections.abc import Callable, Iterable

from bulkid.text import skeleton

_CUTOFF = 70.0  # percent of rapidfuzz's ratio: "Traines" is 93 to "Trainees", "Fin" is 60 to "Finance"
_SHOWN = 3
_LONGEST = 200  # characters; what is longer is a paragraph, not a name with a typing error
_COMPARISONS = 5_000_000  # in all; about a second. 50,000 bad rows over 100,000 names would be 5,000,000,000


class NameSuggester:
    """Suggests existing names for one that is unknown.

    Work is bounded: each distinct text is compared once, and after a few million comparisons no more suggestions
    are made, so that a sheet that is wrong in every row is refused as fast as one that is wrong in one.

    Args:
        names: Gives the existing names; called once, when the first suggestion is needed.
    """

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._read = names
        self._names: tuple[str, ...] | None = None
        self._forms: list[str] = []
        self._left = _COMPARISONS
        self._found: dict[str, tuple[str, ...]] = {}

    def suggest(self, text: str) -> tuple[str, ...]:
        """Give up to three existing names that are near the text, the nearest first."""
        key = skeleton(text)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._search(key)
        return found

    def _search(self, key: str) -> tuple[str, ...]:
        if self._names is None:
            self._names = tuple(dict.fromkeys(self._read()))
            self._forms = [skeleton(name) for name in self._names]
        if not key or len(key) > _LONGEST or len(self._forms) > self._left:
            return ()
        self._left -= len(self._forms)
        from rapidfuzz import fuzz, process

        hits = process.extract(key, self._forms, scorer=fuzz.ratio, limit=_SHOWN, score_cutoff=_CUTOFF)
        return tuple(self._names[index] for _, _, index in hits)
