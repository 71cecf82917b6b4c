"""The plan: a value that says which accounts change, which stay, and what that takes."""

from dataclasses import dataclass, field, replace

from bulkid.model import AccountUpdate, DesiredState
from bulkid.planning.diff import diff
from bulkid.planning.directory import Directory
from bulkid.planning.resolve import Resolution
from bulkid.planning.strategy import Strategy
from bulkid.resources import current
from bulkid.text import count_of


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for a whole sheet, in its order. Nothing here is empty: what needs no request is unchanged."""

    changes: tuple[AccountUpdate, ...] = field(repr=False)  # what differs, one per account
    changing: tuple[DesiredState, ...] = field(
        repr=False
    )  # the desired states that the changes come from, side by side
    unchanged: tuple[DesiredState, ...] = field(repr=False)  # already as wanted
    skipped: tuple[DesiredState, ...] = field(default=(), repr=False)  # would change, but are no part of this trial
    notes: tuple[str, ...] = ()  # what resolving had to warn of
    strategy: Strategy | None = None  # which requests carry the changes; None: one PUT per account

    @property
    def accounts(self) -> int:
        """How many accounts the sheet has good rows for."""
        return len(self.changing) + len(self.unchanged) + len(self.skipped)

    @property
    def by_account(self) -> tuple[AccountUpdate, ...]:
        """The changes that go out as the PUT of their own account; group PUTs carry the others."""
        if self.strategy is None:
            return self.changes
        return tuple([self.changes[index] for index in self.strategy.cover.by_account])

    @property
    def planned_puts(self) -> int:
        """How many PUTs the plan takes, when none has to be repeated."""
        return len(self.changes) if self.strategy is None else self.strategy.puts

    @property
    def naive_puts(self) -> int:
        """How many PUTs one per good row would take, of the rows that this plan covers."""
        return sum(
            len(desired.rows) for desired_states in (self.changing, self.unchanged) for desired in desired_states
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before agreeing, as sentences."""
        unknown = [
            f"The {field.label} of {count_of(count, 'account')} is not known and is left out of the request; whether "
            "the server then keeps it is not documented."
            for number, field in enumerate(current().fields)
            if (count := sum(change.values[number] is None for change in self.changes))
        ]
        return (*self.notes, *unknown)


def build_plan(resolution: Resolution, directory: Directory) -> Plan:
    """Compare every desired state with the directory.

    Args:
        resolution: What the sheet asks for.
        directory: The present state; without accounts, everything desired is planned to be sent.

    Raises:
        PermissionDeniedError: An exact list of groups cannot be compared (never where they were resolved with
            this directory).
    """
    changes: list[AccountUpdate] = []
    changing: list[DesiredState] = []
    unchanged: list[DesiredState] = []
    for desired in resolution.desired_states:
        change = diff(desired, directory.account(desired.account_id), directory)
        if change.empty:
            unchanged.append(desired)
        else:
            changes.append(change)
            changing.append(desired)
    return Plan(tuple(changes), tuple(changing), tuple(unchanged), notes=resolution.warnings)


def limit_changes(plan: Plan, first: int | None) -> Plan:
    """Keep only the first accounts that change, for a trial; the others are left out, not forgotten.

    Args:
        plan: The whole plan.
        first: How many to keep; None keeps all.
    """
    if first is None or first >= len(plan.changes):
        return plan
    kept = max(first, 0)
    return replace(
        plan,
        changes=plan.changes[:kept],
        changing=plan.changing[:kept],
        skipped=plan.changing[kept:] + plan.skipped,
        strategy=None,  # it was for all of them
    )
