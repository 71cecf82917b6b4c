"""Which requests read accounts and carry changes, so that they are few; how long they take; and why these."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from bulkid.errors import PermissionDeniedError, UsageError
from bulkid.model import UPDATE, Action, Change, QuotaRule, RowRequest, new_tuple
from bulkid.planning.cover import Cover, accounts_only, cover, groups_where_possible
from bulkid.planning.creation import GUID
from bulkid.resources import current
from bulkid.text import fold, fold_all, humanize_seconds, listing

StrategyOption = Literal["auto", "accounts", "groups"]


_PAGE = 1000  # accounts that one GET reads back


@dataclass(frozen=True, slots=True)
class Constraints:
    """What sending has to go by."""

    rules: tuple[QuotaRule, ...]  # the quota
    rate: float | None  # requests per second at most; None for no such limit
    may_write_groups: bool | None  # whether the token says that it may read and change groups; None: it does not say
    read_back: bool  # whether accounts can be read back; a group PUT's answer confirms nothing about one account
    accounts: int  # how many accounts reading back may have to go through
    looked_up: int = 0  # how many of these it has to look up one by one
    refusing: Mapping[str, str] = field(default_factory=dict)  # by folded id: refuse every PUT


class Strategy(NamedTuple):
    """The requests that carry a plan's changes, and the reason for them."""

    cover: Cover
    account_puts: int  # what one PUT per account would take
    reason: str = ""  # a sentence for the plan; "" where there was nothing to choose
    is_advice: bool = False  # whether the sentence says what fewer requests would take


def by_accounts(changes: Sequence[Change]) -> Strategy:
    """One PUT per account, with nothing to say about it."""
    only = accounts_only(changes)
    return Strategy(only, only.puts)


def without_carried(changes: Sequence[Change], new_group_ids: Collection[str]) -> Sequence[Change]:
    """Give what PUTs must carry of each change, side by side with it.

    The POST of a new group carries its members, and creations and deletions have requests of their own: what is left
    of these is empty, and needs no PUT.

    Args:
        changes: All changes of a plan.
        new_group_ids: Folded ids of the groups that the run creates.
    """
    if not new_group_ids and all(change.action is UPDATE for change in changes):
        return changes
    left = []
    for change in changes:
        add = change.add
        if change.action is not UPDATE:
            account_id, name, values, _, _, _, before, _ = change
            change = new_tuple(Change, (account_id, name, values, False, (), (), before, UPDATE))  # noqa: PLW2901
        elif any(fold(group) in new_group_ids for group in add):
            change = change._replace(add=tuple([group for group in add if fold(group) not in new_group_ids]))  # noqa: PLW2901
        left.append(change)
    return left


def choose_strategy(
    changes: Sequence[Change], via: StrategyOption, batch_size: int, constraints: Constraints
) -> Strategy:
    """Choose the requests for a plan's changes.

    ``auto`` takes group PUTs where the quota makes requests scarce (one PUT per account would have to wait for it), or
    where they save at least half of the PUTs and of all requests, what it takes to read back included.

    Raises:
        UsageError: ``groups`` is asked for where nothing is read.
        PermissionDeniedError: ``groups`` is asked for, and the token says that it may not change groups.
    """
    if via == "accounts" or not changes:
        return by_accounts(changes)
    strategy = (
        _by_groups(changes, batch_size, constraints)
        if via == "groups"
        else _choose_automatically(changes, batch_size, constraints)
    )
    return strategy._replace(reason=f"{strategy.reason} {_refusing_groups_note(changes, constraints)}".strip())


def _choose_automatically(changes: Sequence[Change], batch_size: int, constraints: Constraints) -> Strategy:
    alone = by_accounts(changes)
    puts = alone.account_puts
    fewest = Strategy(cover(changes, batch_size, constraints.refusing), puts)
    scarce = minimum_seconds(puts, constraints.rules, "PUT") > 0
    worthwhile = fewest.cover.puts < puts and (scarce or _saves_half(fewest, constraints))
    if not (constraints.read_back and worthwhile):
        return alone
    saving = _saving(fewest, constraints)
    if constraints.may_write_groups:
        why = "since the quota makes requests scarce" if scarce else "since that saves at least half"
        return Strategy(fewest.cover, puts, f"Group requests, {why}: {saving}.")
    advice = "The token does not say that it may: --via groups tries."
    if constraints.may_write_groups is False:
        advice = "Grant PM.Group (or PM.Group.Write) to the application for that."
    reason = f"Group requests would make it {saving}. {advice}"
    return alone._replace(reason=reason, is_advice=True)


def _by_groups(changes: Sequence[Change], batch_size: int, constraints: Constraints) -> Strategy:
    if not constraints.read_back:
        raise UsageError(
            "Group requests cannot be used blind: their answers confirm nothing about one account.",
            hint="Leave --via groups out, or let bulkid read the accounts (no --no-read; scope "
            f"{current().read_scope}).",
        )
    puts = accounts_only(changes).puts
    strategy = Strategy(groups_where_possible(changes, batch_size, constraints.refusing), puts)
    if strategy.cover.batches and constraints.may_write_groups is False:
        raise PermissionDeniedError(
            "The token may not read and change groups: it lacks the scope PM.Group.Write or PM.Group.Read.",
            hint="Grant PM.Group (or both of these) to the external application as an application scope, and ask for "
            "it in BULKID_SCOPE where that is set; or leave --via groups out.",
        )
    if not strategy.cover.batches:
        return Strategy(strategy.cover, puts, "No change can be carried by a group request.")
    return Strategy(strategy.cover, puts, f"Group requests, as --via asks: {_saving(strategy, constraints)}.")


def _refusing_groups_note(changes: Sequence[Change], constraints: Constraints) -> str:
    """A sentence about the groups of a plan that refuse group requests; "" when there are none."""
    if not constraints.refusing:
        return ""
    changed = {group for change in changes for group in (*change.add, *change.remove)}
    named = sorted(
        constraints.refusing[key] for key in {fold(group) for group in changed} if key in constraints.refusing
    )
    if not named:
        return ""
    refused = "has refused a group request" if len(named) == 1 else "have refused group requests"
    return f"{listing(named, 'and')} {refused}: the members go by account."


def _saves_half(fewest: Strategy, constraints: Constraints) -> bool:
    """Whether group PUTs save half, counting what one PUT per account does not need: reading back, and the names."""
    carried = fewest.account_puts - len(fewest.cover.by_account)
    pages = -(-(constraints.accounts - constraints.looked_up) // _PAGE)
    reading = 1 + min(pages + constraints.looked_up, carried)
    return 2 * fewest.cover.puts <= fewest.account_puts and fewest.cover.puts + reading < fewest.account_puts


def _saving(strategy: Strategy, constraints: Constraints) -> str:
    """``212 PUTs instead of 9,812: 4 minutes 50 seconds instead of 5 hours 6 minutes``."""
    fewer_puts = (
        f"{strategy.cover.puts:,} {'PUT' if strategy.cover.puts == 1 else 'PUTs'} instead of {strategy.account_puts:,}"
    )
    least = [
        minimum_seconds(puts, constraints.rules, "PUT", constraints.rate)
        for puts in (strategy.cover.puts, strategy.account_puts)
    ]
    if least[1] <= 0:
        return fewer_puts
    shortest = humanize_seconds(least[0]) if least[0] else "no waiting"
    return f"{fewer_puts}: {shortest} instead of {humanize_seconds(least[1])}"


def minimum_seconds(requests: int, rules: Iterable[QuotaRule], method: str, rate: float | None = None) -> float:
    """Give the least time in which a number of requests can be sent.

    A rolling window of T seconds for N requests lets the first N leave at once and N more every T: M requests take
    (ceil(M/N) - 1) x T. ``rate`` is how many requests per second may leave, the first of them at once. 0 when nothing
    limits the sending, infinity when a quota lets nothing through.
    """
    if requests <= 0:
        return 0.0
    least = 0.0 if rate is None else ((requests - 1) / rate if rate > 0 else math.inf)
    for rule in rules:
        if rule.method.upper() == method.upper():
            windows = math.inf if rule.count <= 0 else -(-requests // rule.count) - 1
            least = max(least, windows * rule.seconds if windows else 0.0)
    return least


def wanted_accounts(requests: Iterable[RowRequest]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List the accounts that rows name, each once: the ids; and the names of rows that give no id.

    Names that differ by case alone are listed each: they may be those of two accounts.
    """
    ids: list[str] = []
    names: dict[str, None] = {}
    for request in requests:
        if account_id := request.account_id:
            ids.append(account_id)
        elif request.name:
            names[request.name] = None
    first: dict[str, str] = {}
    for key, account_id in zip(fold_all(ids), ids, strict=True):
        first.setdefault(key, account_id)
    return tuple(first.values()), tuple(names)


def deletion_names(requests: Iterable[RowRequest], absent: Collection[str]) -> tuple[str, ...]:
    """List the names by which rows may mean the accounts to delete, where no account has their id.

    An account is deleted already where no account has its id, unless one has the row's name, or the row has a name in
    place of an id.

    Args:
        requests: The rows.
        absent: Folded ids that no account has.
    """
    names: dict[str, None] = {}
    for request in requests if absent else ():
        if request.action is Action.DELETE and fold(request.account_id) in absent:
            texts = (request.name, "" if GUID.fullmatch(request.account_id) else request.account_id)
            names.update(dict.fromkeys(text for text in texts if text))
    return tuple(names)


def singles_are_fewer(total: int, page_size: int, missing: int, overlap: int = 0) -> bool:
    """Whether one GET per missing account takes fewer requests than the pages that follow the first one.

    At the same count pages win: they also hold the names that a mistyped one may have meant. ``page_size`` is how many
    the first page held, ``missing`` how many accounts of the sheet it does not hold, ``overlap`` how many accounts a
    page shares with the page before it.
    """
    stride = page_size - min(overlap, page_size // 2)
    return missing > 0 and total > page_size and not (stride > 0 and -(-(total - page_size) // stride) <= missing)
