"""Runs, kills, resumes, undos and another client in any order, beside a model that knows nothing of requests."""

import csv
import itertools
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bulkid import runs
from bulkid.errors import UsageError
from bulkid.journal import store
from bulkid.runs.execution import account_sender
from tests.support.examples import examples
from tests.support.hurried_clock import Hurried
from tests.support.life_server import ORG, URL, LifeServer, killed_when, rows_of, serving

GROUPS = {"g-1": "One", "g-2": "Two"}
NAMES = ("a", "b", "c", "d")
TARGET = runs.Target(url=URL, access_token="1234", organization_id=ORG)

Command = Callable[[runs.Context], Coroutine[Any, Any, runs.RunResult]]


class State(NamedTuple):
    """An account as everybody sees it: without its id, which changes where it is made again."""

    display_name: str = ""
    groups: frozenset[str] = frozenset()


States = dict[str, State]


class Wish(NamedTuple):
    """A row of a sheet. It updates the account of its name, or deletes it; where there is none, it creates it."""

    display_name: str
    add: frozenset[str]
    remove: frozenset[str]
    delete: bool

    def cells(self, name: str, *, exists: bool) -> tuple[str, ...]:
        if self.delete and exists:
            return (name, "", "", "", "delete")
        add, remove = ("; ".join(sorted(groups)) for groups in (self.add, self.remove))
        return (name, self.display_name, add, remove if exists else "", "update" if exists else "create")

    def applied(self, state: State | None) -> State | None:
        if state is not None and self.delete:
            return None
        state = state or State()
        return State(self.display_name or state.display_name, (state.groups | self.add) - self.remove)


def existing(states: Mapping[str, State | None]) -> States:
    return {name: state for name, state in states.items() if state is not None}


def put_back(before: State | None, after: State | None, present: State | None) -> State | None:
    """What an undo makes of an account that a run led from one state to another, and that is in a third one now."""
    if before == after:
        return present
    if before is None or after is None:  # created or deleted: only where the account is as the run left it
        return before if present == after else present
    assert present is not None
    if before.display_name == after.display_name:
        return State(present.display_name, before.groups)
    return before if present.display_name == after.display_name else present


wishes = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        lambda display_name, groups, cut, delete: Wish(
            display_name, frozenset(groups[:cut]), frozenset(groups[cut:]), delete
        ),
        st.sampled_from(["", "New", "Newer"]),
        st.permutations(sorted(GROUPS)).flatmap(lambda groups: st.integers(0, 2).map(lambda count: groups[:count])),
        st.integers(0, 2),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
)
kills = st.none() | st.integers(0, 11)
"""The moment, before or after the server works on a request, at which a command is killed; None: it is not."""


class Organization(RuleBasedStateMachine):
    """A server beside what it should hold. Accounts are compared whenever no run is interrupted."""

    @initialize(groups=st.lists(st.sets(st.sampled_from(sorted(GROUPS))), min_size=3, max_size=3))
    def begin(self, groups: list[set[str]]) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.server = LifeServer(groups=dict(GROUPS))
        for name, joined in zip(NAMES, groups, strict=False):
            self.server.add(name, "Old", sorted(joined))
        self.model = self.present()
        self.before: States = {}  # of the newest run
        self.after: States = {}  # what it leads to
        self.is_open = False  # whether it was killed

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def present(self) -> States:
        return {
            account["name"]: State(account["displayName"] or "", frozenset(account["groupIds"]))
            for account in self.server.accounts.values()
        }

    def work(self, command: Command, kill: int | None) -> runs.RunResult | None:
        """Do a command, which may be killed; gives its result unless it was."""
        result: runs.RunResult | None = None

        def go(stop: runs.Stop) -> None:
            nonlocal result
            context = runs.Context(
                state_dir=self.folder / "state", clock=Hurried(1000.0), random=random.Random(7).random, stop=stop
            )
            with serving(self.server):
                result = anyio.run(command, context)

        if kill is None:
            go(runs.Stop())
            return result
        moments = itertools.count()
        self.is_open = killed_when(self.server, lambda *_: next(moments) == kill, go)
        return None if self.is_open else result

    def begun(self, after: States, result: runs.RunResult | None) -> None:
        """Note a run that has begun. Its rows have the statuses of what it leads to, once it has ended."""
        self.before, self.after, self.model = self.model, after, after
        self.ended(result)

    def ended(self, result: runs.RunResult | None) -> None:
        if result is None:
            return
        self.is_open = False
        found = {name: row.status.value for name, row in rows_of(self.folder, result.run.run_id).items()}
        assert not set(found.values()) & {"failed", "pending"}
        assert result.exit_code == ("invalid" in found.values())
        for name, status in found.items():
            if status == "invalid":  # of an undo: left alone
                assert self.before.get(name) == self.after.get(name)

    # --- what happens

    @precondition(lambda self: not self.is_open)
    @rule(rows=wishes, via=st.sampled_from(["accounts", "groups"]), kill=kills)
    def run(self, rows: Mapping[str, Wish], via: Any, kill: int | None) -> None:
        path = self.folder / "sheet.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            cells = [wish.cells(name, exists=name in self.model) for name, wish in rows.items()]
            csv.writer(file).writerows(
                [("name", "display_name", "groups_to_add", "groups_to_remove", "action"), *cells]
            )
        options = self.options(via=via)
        after = {**self.model, **{name: wish.applied(self.model.get(name)) for name, wish in rows.items()}}
        self.begun(existing(after), self.work(lambda context: runs.run(path, TARGET, options, context), kill))

    @precondition(lambda self: self.is_open)
    @rule(kill=kills)
    def resume(self, kill: int | None) -> None:
        self.ended(self.work(lambda context: runs.resume("", TARGET, context, yes_really=True), kill))

    @precondition(lambda self: self.after and not self.is_open)
    @rule(kill=kills)
    def undo(self, kill: int | None) -> None:
        if self.before == self.after:
            with pytest.raises(UsageError, match="changed nothing"):
                self.work(self.undo_command, None)
            return
        back = {
            name: put_back(self.before.get(name), self.after.get(name), self.model.get(name))
            for name in {*self.before, *self.after, *self.model}
        }
        self.begun(existing(back), self.work(self.undo_command, kill))

    @precondition(lambda self: self.is_open)
    @rule()
    def undo_what_was_killed(self) -> None:
        """All is as before the killed run, whatever it has done of its changes."""
        before, self.model = self.before, self.present()
        try:
            result = self.work(self.undo_command, None)
        except UsageError as error:
            if "changed nothing" not in str(error):
                raise
            assert self.model == before
            self.model = self.after
            return
        self.begun(before, result)

    def undo_command(self, context: runs.Context) -> Coroutine[Any, Any, runs.RunResult]:
        return runs.undo("last", TARGET, self.options(), context, recreate=True)

    def options(self, **more: Any) -> runs.RunOptions:
        return runs.RunOptions(report_dir=self.folder / "reports", allow_delete=True, yes_really=True, **more)

    @precondition(lambda self: self.model and not self.is_open)
    @rule(name=st.sampled_from(NAMES))
    def another_client_renames(self, name: str) -> None:
        found = self.server.named(name)
        if found is not None:
            found["displayName"] = "Theirs"
            self.model = {**self.model, name: self.model[name]._replace(display_name="Theirs")}

    @invariant()
    def the_accounts_are_those_of_the_model(self) -> None:
        if not self.is_open:
            assert self.present() == self.model


class OrganizationOfPackedPlans(Organization):
    """The same where a plan stays packed, but for the accounts whose requests leave, one at a time."""

    def work(self, command: Command, kill: int | None) -> runs.RunResult | None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "PACKED_TOGETHER", 1)
            patch.setattr(account_sender, "FIRST_INTENT_CHUNK", 1)
            patch.setattr(account_sender, "INTENT_CHUNK", 1)
            return super().work(command, kill)


TestOrganization = Organization.TestCase
TestOrganization.settings = settings(max_examples=examples(7, soak=100), stateful_step_count=30, deadline=None)
TestOrganizationOfPackedPlans = OrganizationOfPackedPlans.TestCase
TestOrganizationOfPackedPlans.settings = settings(TestOrganization.settings, max_examples=examples(5, soak=100))
