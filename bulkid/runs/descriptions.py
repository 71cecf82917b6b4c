"""Sentences about targets, plans and outcomes that the terminal and the web console share: both show the same words.

Names of organisations and groups come from servers: who shows a sentence makes it safe to show, as any foreign text.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from yarl import URL

from bulkid.errors import UsageError
from bulkid.identity.urls import complete_url, is_loopback
from bulkid.model import SANDBOX_ORGANIZATION, Account, Action, Change, RunRecord, RunStatus
from bulkid.planning.directory import Directory
from bulkid.planning.export_rows import has_time
from bulkid.planning.plan import changed_fields
from bulkid.planning.strategy import minimum_seconds
from bulkid.resources import current
from bulkid.resources.field import Mark
from bulkid.runs.options import Preview
from bulkid.text import count_of, fold, humanize_seconds, listing, short_duration

REQUESTS_PER_S = 50.0
"""Requests that bulkid sends in a second where no quota and no rate holds it back: 16 at a time, a third of a second
each. An estimate, no promise."""

MAX_LISTED_GROUPS = 5
"""Groups that a summary names."""

_SHORT_ID = 8  # characters of an id that stand for all of it
_QUICK_S = 10.0
_COARSE_S = 60.0


# --- the target


@dataclass(frozen=True, slots=True)
class Destination:
    """The organisation that a run changes, and the server that it is on, in the words for people."""

    host: str  # with the port where it is not the usual one
    organization_id: str = ""  # "" where it is not known yet
    name: str = ""  # of the organisation, as the address has it; "" where the address has none
    is_sandbox: bool = False  # a simulated server: no real account changes

    @property
    def long(self) -> str:
        """For a line of its own: ``Organisation acme (3fa85f64...) at cloud.uipath.com``."""
        if self.is_sandbox:
            return "Sandbox: a simulated organisation; no real account changes"
        short_id = _shortened(self.organization_id)
        organisation = f"{self.name} ({short_id})" if self.name and short_id else self.name or short_id
        return f"Organisation {organisation} at {self.host}" if organisation else self.host

    @property
    def short(self) -> str:
        """For a column or a bar: ``acme · cloud.uipath.com``, or ``sandbox``."""
        if self.is_sandbox:
            return "sandbox"
        organisation = self.name or _shortened(self.organization_id)
        return f"{organisation} · {self.host}" if organisation else self.host


def destination(url: str, organization_id: str = "", *, sandbox: bool = False) -> Destination:
    """Describe an address and an organisation.

    Args:
        url: The address of a target, as given or completed; what is no address stands for itself.
        organization_id: The ``partitionGlobalId``; "" where it is not known.
        sandbox: Whether it is known to be the embedded sandbox. Another sandbox of this machine shows itself by its
            organisation.
    """
    try:
        base = complete_url(url)
    except UsageError:
        return Destination(url, organization_id, is_sandbox=sandbox)
    simulated = is_loopback(base.host) and fold(organization_id) == SANDBOX_ORGANIZATION
    segments = [segment for segment in URL(base.url, encoded=True).path.split("/") if segment]
    named = len(segments) == 2 and segments[1] == "identity_"  # noqa: PLR2004 - /acme/identity_
    name = segments[0] if named and fold(segments[0]) != fold(organization_id) else ""
    return Destination(base.authority, organization_id, name, is_sandbox=sandbox or simulated)


def destination_of(run: RunRecord) -> Destination:
    """Describe where a run changed accounts."""
    return destination(run.base_url, run.organization_id, sandbox=bool(run.options.get("sandbox")))


def _shortened(text: str) -> str:
    return f"{text[:_SHORT_ID]}..." if len(text) > _SHORT_ID + 3 else text


# --- what a plan changes


def marked_changes(change: Change, directory: Directory) -> Iterator[tuple[Mark, str]]:
    """Yield each change of an account as its mark and its words: ``("+", "Finance")``.

    A creation begins with ``("+", "new account")``. A deletion has one mark, and names the id and the last login.
    """
    if change.action is Action.DELETE:
        yield "-", deletion_words(change)
        return
    if change.action is Action.CREATE:
        yield "+", "new account"
        for field, value in zip(current().fields, change.values, strict=True):
            if value:
                yield field.describe_difference("", value)
    else:
        for field, before, after in changed_fields(change):
            yield field.describe_difference(before, after)
    for group in change.add:
        yield "+", directory.group_name(group)
    for group in change.remove:
        yield "-", directory.group_name(group)


def deletion_words(change: Change) -> str:
    """``delete account 88-uv (last login 2025-03-01, created 2023-11-30)``, without the dates that are not known."""
    dates = account_dates(change.before)
    return f"delete account {change.account_id}{f' ({dates})' if dates else ''}"


def account_dates(account: Account | None) -> str:
    """``last login 2025-03-01, created 2023-11-30``; ``never logged in`` where the server names no login.

    Empty where the server has named neither.
    """
    if account is None or not (account.created or account.last_login):
        return ""
    login = f"last login {day_of(account.last_login)}" if has_time(account.last_login) else "never logged in"
    return f"{login}, created {day_of(account.created)}" if account.created else login


def day_of(time: str) -> str:
    """The day of a time in ISO 8601, as the server wrote it; a time in another form stays whole."""
    return time.partition("T")[0]


class DeletedAccount(NamedTuple):
    """An account that a plan deletes, as lists show it."""

    name: str
    account_id: str
    last_login: str  # as the server wrote it; "never"; "" where it is not known
    created: str  # as the server wrote it; "" where it is not known


def deleted_accounts(preview: Preview) -> Iterator[DeletedAccount]:
    """Yield every account that a plan deletes."""
    for change in preview.plan.changes_of(Action.DELETE):
        login, created = ("", "") if change.before is None else (change.before.last_login, change.before.created)
        if not has_time(login):
            login = "never" if login or created else ""
        yield DeletedAccount(change.name, change.account_id, login, created)


class GroupCount(NamedTuple):
    """How many accounts join and leave one group."""

    name: str
    joins: int
    leaves: int

    @property
    def words(self) -> str:
        """``Finance +21 -1``, without what is 0."""
        joins, leaves = f" +{self.joins:,}" if self.joins else "", f" -{self.leaves:,}" if self.leaves else ""
        return f"{self.name}{joins}{leaves}"


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    """How many changes of each kind a plan has. It holds no account."""

    fields: tuple[str, ...]  # such as "12 creations", "3 deletions", "5 renames" and "2 names removed"
    groups: tuple[GroupCount, ...]  # those with the most changes first

    @property
    def joins(self) -> int:
        """How many memberships are added."""
        return sum(group.joins for group in self.groups)

    @property
    def leaves(self) -> int:
        """How many memberships are removed."""
        return sum(group.leaves for group in self.groups)

    @property
    def kinds_line(self) -> str:
        """``5 renames, 2 names removed, 21 joins, 1 leave``, without those that there are none of."""
        joins = [count_of(self.joins, "join")] if self.joins else []
        leaves = [count_of(self.leaves, "leave")] if self.leaves else []
        return ", ".join([*self.fields, *joins, *leaves])

    def groups_line(self, limit: int | None = MAX_LISTED_GROUPS) -> str:
        """``Finance +21 -1 · Trainees -2 · ... and 12 more groups``; "" where no membership changes."""
        listed = self.groups if limit is None or len(self.groups) <= limit else self.groups[:limit]
        parts = [group.words for group in listed]
        hidden = len(self.groups) - len(listed)
        if hidden:
            parts.append(f"... and {hidden:,} more {'group' if hidden == 1 else 'groups'}")
        return " · ".join(parts)


def count_changes(changes: Iterable[Change], directory: Directory) -> ChangeCounts:
    """Count changes by kind and by group, in one pass and without keeping any."""
    replaced: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    joins: Counter[str] = Counter()
    leaves: Counter[str] = Counter()
    actions: Counter[Action] = Counter()
    for change in changes:
        if change.action is not Action.UPDATE:
            actions[change.action] += 1
            joins.update(change.add)
            continue
        for field, _, after in changed_fields(change):
            (replaced if after else removed)[field.key] += 1
        joins.update(change.add)
        leaves.update(change.remove)
    whole = [
        count_of(actions[action], noun)
        for action, noun in ((Action.CREATE, "creation"), (Action.DELETE, "deletion"))
        if actions[action]
    ]
    return ChangeCounts(
        (
            *whole,
            *(
                words
                for field in current().fields
                for words in field.describe_counts(replaced[field.key], removed[field.key])
            ),
        ),
        _group_counts(joins, leaves, directory),
    )


def _group_counts(joins: Counter[str], leaves: Counter[str], directory: Directory) -> tuple[GroupCount, ...]:
    """Count by group; ids that differ by case alone are one group."""
    counted: dict[str, GroupCount] = {}
    for group_id in joins | leaves:
        key = fold(group_id)
        so_far = counted.get(key) or GroupCount(directory.group_name(group_id), 0, 0)
        counted[key] = GroupCount(so_far.name, so_far.joins + joins[group_id], so_far.leaves + leaves[group_id])
    return tuple(sorted(counted.values(), key=lambda group: (-group.joins - group.leaves, group.name)))


@dataclass(frozen=True, slots=True)
class ActionCounts:
    """How many accounts a plan creates, changes and deletes."""

    create: int = 0
    update: int = 0
    delete: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.create + self.update + self.delete


def count_actions(changes: Iterable[Change]) -> ActionCounts:
    """Count changes by action."""
    counts = Counter(change.action for change in changes)
    return ActionCounts(counts[Action.CREATE], counts[Action.UPDATE], counts[Action.DELETE])


def plan_summary(preview: Preview) -> str:
    """``Plan: 12 to create, 176 to change, 3 to delete, 24 already correct, 0 invalid``: accounts, and invalid rows.

    Creations and deletions are left out of a plan that has none.
    """
    plan, counts = preview.plan, count_actions(preview.plan.changes)
    create = f"{counts.create:,} to create, " if counts.create else ""
    delete = f"{counts.delete:,} to delete, " if counts.delete else ""
    return (
        f"Plan: {create}{counts.update:,} to change, {delete}{len(plan.unchanged):,} already correct, "
        f"{preview.invalid_rows:,} invalid"
    )


def new_groups_line(preview: Preview) -> str:
    """``2 new groups: Night Shift, Payroll``; "" where the plan creates no group."""
    groups = preview.plan.new_groups
    if not groups:
        return ""
    return f"{count_of(len(groups), 'new group')}: {', '.join(group.name for group in groups)}"


def deletion_warning(preview: Preview) -> str:
    """``3 accounts will be deleted. Deletions cannot be undone.``; "" where the plan deletes no account."""
    count = count_actions(preview.plan.changes).delete
    return f"{count_of(count, 'account')} will be deleted. {IRREVERSIBLE}" if count else ""


IRREVERSIBLE = "Deletions cannot be undone."
"""What every plan that deletes accounts says."""


def deletion_prompt(count: int) -> str:
    """What a user is asked to type before accounts are deleted."""
    return f"Type the number of accounts to delete ({count:,}) to go on:"


def confirms_deletions(typed: str, count: int) -> bool:
    """Whether a text that a user typed is the number of accounts to delete: ``1234`` or ``1,234``."""
    return typed.strip() in {str(count), f"{count:,}"}


def trial_note(preview: Preview) -> str:
    """Say what a trial leaves for later; "" where the plan is no trial."""
    if not preview.skipped:
        return ""
    left = "more account is" if preview.skipped == 1 else "more accounts are"
    return f"Trial: {preview.skipped:,} {left} left for later."


def question(preview: Preview, *, undo: bool = False) -> tuple[str, ...]:
    """What a user is asked before a plan is sent: sentences to know, and last the question itself.

    The question of a plan that deletes accounts is to be answered with their number: see :func:`confirms_deletions`.
    """
    counts, skipped = count_actions(preview.plan.changes), preview.invalid_rows
    notes = [f"{count_of(skipped, 'invalid row')} {'is' if skipped == 1 else 'are'} skipped."] if skipped else []
    if preview.directory.blind:
        notes.append("This run cannot be undone, because it does not read the accounts first.")
        return (*notes, f"{actions_sentence(counts)}?")
    how = "bulkid undo --allow-delete" if counts.create else "bulkid undo"
    if counts.delete:
        rest = f" You can reverse the rest with {how}." if counts.total > counts.delete else ""
        return (*notes, f"{actions_sentence(counts)}. {IRREVERSIBLE}{rest}", deletion_prompt(counts.delete))
    if undo and not counts.create:
        return (
            *notes,
            f"Undo the changes to {count_of(counts.update, 'account')}? You can reverse this with bulkid undo.",
        )
    return (*notes, f"{actions_sentence(counts)}? You can reverse this with {how}.")


def actions_sentence(counts: ActionCounts) -> str:
    """``Update 30 accounts``, or ``Create 12, update 30 and delete 3 accounts``."""
    parts = [
        (verb, count)
        for verb, count in (("create", counts.create), ("update", counts.update), ("delete", counts.delete))
        if count
    ] or [("update", 0)]
    *others, (verb, count) = parts
    words = listing([*(f"{verb} {count:,}" for verb, count in others), f"{verb} {count_of(count, 'account')}"], "and")
    return words[:1].upper() + words[1:]


# --- how a plan is sent


def estimated_seconds(preview: Preview) -> float:
    """How long sending a plan takes, at a guess: the waiting for a quota or a rate, else the requests themselves."""
    return max(preview.eta_s, sum(preview.plan.requests.values()) / REQUESTS_PER_S)


def estimate(preview: Preview) -> str:
    """Return ``Estimated time: under 10 seconds (100 requests). Grouping saved 76 requests.`` or its like."""
    plan = preview.plan
    requests = sum(plan.requests.values())
    if not requests:
        return "Nothing needs to be sent."
    seconds = estimated_seconds(preview)
    if math.isinf(seconds):
        return f"The quota lets none of the {count_of(requests, 'request')} leave."
    time = "under 10 seconds" if seconds < _QUICK_S else f"about {humanize_seconds(_rounded(seconds))}"
    saved = count_actions(plan.changes).update - plan.planned_puts - len(plan.new_groups)
    grouping = f" Grouping saved {count_of(saved, 'request')}." if saved > 0 else ""
    return f"Estimated time: {time} ({count_of(requests, 'request')}).{grouping}"


def forecast(preview: Preview) -> tuple[str, ...]:
    """What each method takes: ``Create 500 accounts: 500 POSTs, no waiting``; empty for a plan of PUTs alone."""
    plan, counts = preview.plan, count_actions(preview.plan.changes)
    if not (counts.create or counts.delete or plan.new_groups):
        return ()
    requests = plan.requests
    new = ((len(plan.new_groups), "group"), (counts.create, "account"))
    lines = (
        (f"Create {' and '.join(count_of(count, noun) for count, noun in new if count)}", "POST"),
        (f"Change {count_of(counts.update, 'account')}", "PUT"),
        (f"Delete {count_of(counts.delete, 'account')}", "DELETE"),
    )
    found = []
    for words, method in lines:
        if requests[method]:
            seconds = minimum_seconds(requests[method], preview.rules, method, preview.rate)
            waiting = "no waiting" if not seconds else f"{humanize_seconds(seconds)} of waiting"
            if math.isinf(seconds):
                waiting = "which the quota does not let leave"
            found.append(f"{words}: {count_of(requests[method], method)}, {waiting}")
    return tuple(found)


def _rounded(seconds: float) -> float:
    """A time with no more digits than a guess deserves: 5 seconds below a minute, 10 below ten, else whole minutes."""
    step = 5.0 if seconds < _COARSE_S else 10.0 if seconds < 10 * _COARSE_S else 60.0
    return round(seconds / step) * step


def sending_details(preview: Preview) -> tuple[str, ...]:
    """Return the details of how a plan is sent: the requests, the quota, what reading took, and the reason."""
    plan, counts = preview.plan, count_actions(preview.plan.changes)
    details = []
    if plan.planned_puts:
        details.append(f"{_puts(plan.planned_puts)} for {count_of(counts.update, 'account')}.")
    details += [f"{line}." for line in forecast(preview)]
    methods = [method for method, count in plan.requests.items() if count]
    for rule in preview.rules:
        if rule.method in methods:
            allowed = f"{count_of(rule.count, rule.method)} within {humanize_seconds(rule.seconds)}"
            details.append(f"The quota allows {allowed}.")
    if methods and preview.rate is not None:
        details.append(f"At most {preview.rate:g} requests leave in a second.")
    if methods:
        details.append(f"Waiting for the quota: {_waiting(preview.eta_s)}.")
    if 0 < plan.planned_puts < counts.update:
        alone = minimum_seconds(counts.update, preview.rules, "PUT", preview.rate)
        details.append(f"One request per account would wait: {_waiting(alone)}.")
    if preview.requests:
        sent = ", ".join(count_of(count, method) for method, count in preview.requests.items() if count)
        details.append(f"Reading took {sent}.")
    if plan.strategy is not None and plan.strategy.reason and not plan.strategy.is_advice:
        details.append(plan.strategy.reason)
    return tuple(details)


def advice(preview: Preview) -> str:
    """Say what a plan with fewer requests would take; "" where there is none, or nothing is in its way."""
    strategy = preview.plan.strategy
    return strategy.reason if strategy is not None and strategy.is_advice else ""


def _puts(count: int) -> str:
    return count_of(count, "PUT")


def _waiting(seconds: float) -> str:
    return humanize_seconds(seconds) if seconds else "none"


# --- how a run ended

OUTCOME_WORDS: Mapping[str, str] = {
    "updated": "updated",
    "created": "created",
    "deleted": "deleted",
    "unchanged": "already correct",
    "failed": "failed",
    "invalid": "invalid",
    "pending": "pending",
}
"""Statuses of rows, in the order in which people read them, with their words."""


def outcome_parts(counts: Mapping[str, int], status: RunStatus) -> list[tuple[str, str]]:
    """The statuses that rows have, each with its words: ``[("updated", "153 updated"), ...]``.

    The pending rows of a run that was refused are "not sent": nothing waits for a resume.
    """
    words = {**OUTCOME_WORDS, "pending": "not sent"} if status is RunStatus.REFUSED else OUTCOME_WORDS
    found = [(each, f"{counts[each]:,} {word}") for each, word in words.items() if counts.get(each)]
    return found or [("updated", "0 updated")]


_HOW: Mapping[RunStatus, tuple[str, str]] = {
    RunStatus.RUNNING: ("Running for", "Running for"),
    RunStatus.COMPLETED: ("Done in", "Done in"),
    RunStatus.COMPLETED_WITH_FAILURES: ("Done in", "Done in"),
    RunStatus.STOPPED: ("Stopped after", "Stopped in"),
    RunStatus.INTERRUPTED: ("Stopped after", "Stopped in"),
}
"""How a run of this status begins its outcome: one that took a second and more, and a shorter one."""


def outcome_beginning(status: RunStatus, elapsed_s: float) -> str:
    """``Done in 4 s``; of a run that was refused, ``Refused``."""
    if status is RunStatus.REFUSED:
        return "Refused"
    return f"{_HOW[status][elapsed_s < 1]} {short_duration(elapsed_s)}"


def outcome(status: RunStatus, counts: Mapping[str, int], elapsed_s: float) -> str:
    """Return ``Done in 4 s: 153 updated, 48 already correct.`` or its like.

    Args:
        status: How the run ended.
        counts: Its rows by status, such as a summary.
        elapsed_s: Seconds that it took.
    """
    return f"{outcome_beginning(status, elapsed_s)}: {', '.join(words for _, words in outcome_parts(counts, status))}."


def resuming(run: RunRecord, rows: int | None) -> str:
    """``Resuming 20261128-150930-d8b4: migration.csv, 862 rows left``; ``rows`` None: not all have been read."""
    left = "" if rows is None else f", {count_of(rows, 'row')} left"
    return f"Resuming {run.run_id}: {run.source}{left}"
