"""Whether a plan changes or deletes so many accounts that the user must confirm it with ``--yes-really``.

Where the organisation's number of accounts is not known, a plan passes only if it would pass with any number.
"""

from fractions import Fraction
from typing import NamedTuple

from bulkid.model import ChangeBound
from bulkid.text import count_of

DEFAULT_PERCENT = 50
"""Percent of the organisation's accounts that a plan may change where no bound is given."""

SMALL_ORGANIZATION = 20
"""Accounts up to which an organisation has no bound by default: there half of them is an ordinary sheet."""

DEFAULT_DELETIONS = ChangeBound(count=10)
"""Accounts that a plan may delete where no bound is given."""

_HUNDRED_PERCENT = 100  # percent

ALWAYS_ALLOWED = (SMALL_ORGANIZATION + 1) * DEFAULT_PERCENT // 100
"""Accounts that the default bound lets through in an organisation of any size (10)."""


class Excess(NamedTuple):
    """How a plan goes beyond what may be sent without further ado."""

    changes: int  # accounts that the plan changes, or deletes
    total: int | None  # accounts of the organisation; None: not known
    bound: ChangeBound  # what is allowed
    deletes: bool = False  # whether these are deletions alone

    @property
    def sentence(self) -> str:
        """What is too much, with the figures; without its end, for the caller says what follows from it."""
        changes, verb = count_of(self.changes, "account"), "deletes" if self.deletes else "changes"
        if self.bound.count is not None:
            return f"The plan {verb} {changes}, more than the limit of {self.bound.count:,}"
        limit = f"the limit of {self.bound.percent:g} %"
        if self.total is None:
            return (
                f"The plan {verb} {changes}, and {limit} cannot be kept: how many accounts the organisation has is "
                "not known"
            )
        share = f" ({100 * self.changes / self.total:.1f} %)" if self.total else ""
        return (
            f"The plan {verb} {self.changes:,} of the organisation's {count_of(self.total, 'account')}{share}, "
            f"more than {limit}"
        )


def excess(changes: int, total: int | None, bound: ChangeBound | None) -> Excess | None:
    """Say by how much a plan exceeds its bound; None when it may be sent.

    Without a bound of its own a plan may change half of the accounts of an organisation that has more than 20, and all
    of a smaller one. A bound in percent is compared exactly: 3 of 1,000 accounts are no more than 0.3 %.
    """
    if changes <= 0:
        return None
    if bound is None:
        if changes <= ALWAYS_ALLOWED or (total is not None and total <= SMALL_ORGANIZATION):
            return None
        bound = ChangeBound(percent=DEFAULT_PERCENT)
    if bound.count is not None:
        return Excess(changes, total, bound) if changes > bound.count else None
    share = Fraction(repr(bound.percent))
    within = share >= _HUNDRED_PERCENT if total is None else _HUNDRED_PERCENT * changes <= share * total
    return None if within else Excess(changes, total, bound)


def excess_deletions(deletions: int, total: int | None, bound: ChangeBound | None) -> Excess | None:
    """Say by how much the deletions of a plan exceed their bound, 10 where none is given; None when they do not."""
    found = excess(deletions, total, bound or DEFAULT_DELETIONS)
    return None if found is None else found._replace(deletes=True)


def needs_total(changes: int, bound: ChangeBound | None) -> bool:
    """Whether the verdict on so many changes depends on how many accounts the organisation has."""
    return excess(changes, None, bound) is not None and (bound is None or bound.count is None)
