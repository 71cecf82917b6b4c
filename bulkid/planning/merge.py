"""Merging the rows that are for one account: their union when they agree, a fault for each when they do not."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from bulkid.model import AccountWish, Fault
from bulkid.text import quote, row_listing

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Clash:
    """One row's part in a contradiction: which rows it is at odds with, and over what."""

    row: int
    field: str
    value: str
    message: str


@dataclass(frozen=True, slots=True)
class Words:
    """How faults speak of a sheet: headers by field, and groups by their names."""

    columns: Mapping[str, str]
    group_name: Callable[[str], str]


def merge(rows: Sequence[AccountWish], words: Words) -> AccountWish | list[Fault]:
    """Join what several rows want of one account.

    Args:
        rows: One wish per row, in ids; ``rows`` of each holds that row's number. All are for one account.
        words: How to name columns and groups in faults.

    Returns:
        The joint wish, the same for every order of the rows; or, when rows contradict one another, at least one
        fault for every row, each naming rows that it is at odds with.
    """
    rows = sorted(rows, key=lambda wish: wish.rows)
    clashes = [*_display_name_clashes(rows), *_group_clashes(rows, words)]
    if clashes:
        return _faults(rows, clashes, words)
    first = rows[0]
    exact = next((wish.exact for wish in rows if wish.exact is not None), None)
    return AccountWish(
        account_id=first.account_id,
        name=next((wish.name for wish in rows if wish.name), ""),
        display_name=next((wish.display_name for wish in rows if wish.display_name is not None), None),
        # What agrees with an exact list is part of it, so that the list alone says it all.
        add=() if exact is not None else _union(wish.add for wish in rows),
        remove=() if exact is not None else _union(wish.remove for wish in rows),
        exact=exact,
        rows=tuple(chain.from_iterable(wish.rows for wish in rows)),
    )


def at_odds(rows_by_value: Mapping[K, Sequence[int]]) -> Iterator[tuple[K, str]]:
    """For each value that rows give, name the rows that give another one."""
    total = sum(map(len, rows_by_value.values()))
    for value, own in rows_by_value.items():
        others = chain.from_iterable(rows for other, rows in rows_by_value.items() if other != value)
        yield value, row_listing(others, total - len(own))


def _display_name_clashes(rows: Sequence[AccountWish]) -> Iterator[Clash]:
    by_value: dict[str, list[int]] = {}
    for wish in rows:
        if wish.display_name is not None:
            by_value.setdefault(wish.display_name, []).extend(wish.rows)
    if len(by_value) < 2:  # noqa: PLR2004 - two make a contradiction
        return
    for value, others in at_odds(by_value):
        message = f"This row wants the display name {_display(value)}, but {others} another one for the same account."
        for row in by_value[value]:
            yield Clash(row, "display_name", value, message)


def _group_clashes(rows: Sequence[AccountWish], words: Words) -> Iterator[Clash]:
    """Find the rows at odds over groups: different exact lists; or a group that is to be both in and out."""
    exacts: dict[frozenset[str], list[int]] = {}
    adds: dict[str, list[int]] = {}
    removes: dict[str, list[int]] = {}
    for wish in rows:
        if wish.exact is not None:
            exacts.setdefault(frozenset(wish.exact), []).extend(wish.rows)
        for group in wish.add:
            adds.setdefault(group, []).extend(wish.rows)
        for group in wish.remove:
            removes.setdefault(group, []).extend(wish.rows)
    yield from _in_and_out(adds, removes, words)
    if len(exacts) == 1:
        ((exact, exact_rows),) = exacts.items()
        yield from _beside_exact(exact, exact_rows, adds, removes, words)
    elif exacts:
        for value, others in at_odds(exacts):
            message = f"This row lists other groups than {others} for the same account."
            for row in exacts[value]:
                yield Clash(row, "groups", _names(sorted(value), words), message)


def _in_and_out(adds: Mapping[str, list[int]], removes: Mapping[str, list[int]], words: Words) -> Iterator[Clash]:
    for group in adds:
        if group in removes:
            name = words.group_name(group)
            added_in = row_listing(adds[group], len(adds[group]))
            removed_in = row_listing(removes[group], len(removes[group]))
            out = f"The group {quote(name)} is added here but removed in {removed_in}."
            into = f"The group {quote(name)} is removed here but added in {added_in}."
            for row in adds[group]:
                yield Clash(row, "groups_to_add", name, out)
            for row in removes[group]:
                yield Clash(row, "groups_to_remove", name, into)


def _beside_exact(
    exact: frozenset[str],
    exact_rows: list[int],
    adds: Mapping[str, list[int]],
    removes: Mapping[str, list[int]],
    words: Words,
) -> Iterator[Clash]:
    """Find what rows add beyond, or remove from, the list that other rows give as exact."""
    changes = [
        ("groups_to_add", "added", "does not list it", group, rows)
        for group, rows in adds.items()
        if group not in exact
    ] + [("groups_to_remove", "removed", "lists it", group, rows) for group, rows in removes.items() if group in exact]
    for number, (field, verb, listed, group, rows) in enumerate(changes):
        name = words.group_name(group)
        exact_in = row_listing(exact_rows, len(exact_rows))
        for row in rows:
            yield Clash(
                row, field, name, f"The group {quote(name)} is {verb} here, but the exact list in {exact_in} {listed}."
            )
        if number == 0:  # the listing rows need to hear of it once, not once for each group
            changed_in = row_listing(rows, len(rows))
            here = f"The group {quote(name)} is {verb} in {changed_in}, but the exact list here {listed}."
            for row in exact_rows:
                yield Clash(row, "groups", name, here)


def _faults(rows: Sequence[AccountWish], clashes: Iterable[Clash], words: Words) -> list[Fault]:
    """Make one fault per row and field; rows not at odds themselves are told which are, since nothing is certain."""
    faults: dict[tuple[int, str], Fault] = {}
    for clash in clashes:
        key = (clash.row, clash.field)
        if key not in faults:
            column = words.columns.get(clash.field, "")
            advice = f"{clash.message} Make the rows agree, or keep one."
            faults[key] = Fault(clash.row, column, clash.value, "contradiction", advice)
    involved = sorted({row for row, _ in faults})
    at_fault = set(involved)
    message = (
        f"Other rows for the same account contradict one another ({row_listing(involved, len(involved))}): "
        "what this account should become is not certain. Mend those rows."
    )
    rest = [Fault(row, "", "", "contradiction", message) for wish in rows for row in wish.rows if row not in at_fault]
    return sorted([*faults.values(), *rest], key=lambda fault: fault.row)


def _union(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    filled = [part for part in parts if part]
    return filled[0] if len(filled) == 1 else tuple(dict.fromkeys(chain.from_iterable(filled)))


def _names(groups: Iterable[str], words: Words) -> str:
    return "; ".join(words.group_name(group) for group in groups)


def _display(value: str) -> str:
    return quote(value) if value else "cleared"
