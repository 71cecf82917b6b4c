"""Laws of approval: over the pure rules, and over a served console of which one user tries everything alone."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule

from bulkid import runs
from bulkid.web.auth.access import ApprovalPolicy, Authors, same_user, with_authors
from tests.support.examples import examples
from tests.support.web_console import Browser, World, run_id_of
from tests.support.web_programs import Program, program_of
from tests.support.web_users import three

SPELLINGS = {
    "ada": ("ada", "Ada", "ADA ", " ada"),
    "straße": ("straße", "STRASSE", "Straße "),
    "otto": ("otto", "\uff2f\uff34\uff34\uff2f", "Otto"),
}
SPELLING_OF = {spelling: person for person, spellings in SPELLINGS.items() for spelling in spellings}
names = st.sampled_from(sorted(SPELLING_OF))

Plan = tuple[Authors, frozenset[str]]
"""The authors that the rules know, and the people who really had a hand in the plan."""


class Rules(RuleBasedStateMachine):
    """People make plans of plans, under any spelling of their names, and approve what the rules let them."""

    plans: Bundle[Plan] = Bundle("plans")
    runs: Bundle[Plan] = Bundle("runs")
    policy = ApprovalPolicy(required=True)

    @rule(target=plans, name=names)
    def upload(self, name: str) -> Plan:
        return with_authors((), name), frozenset({SPELLING_OF[name]})

    @rule(target=plans, plan=plans, name=names)
    def read_otherwise(self, plan: Plan, name: str) -> Plan:
        return with_authors(plan[0], name), plan[1] | {SPELLING_OF[name]}

    @rule(target=plans, run=runs, name=names)
    def retry_or_undo(self, run: Plan, name: str) -> Plan:
        return with_authors(run[0], name), run[1] | {SPELLING_OF[name]}

    @rule(target=plans, run=runs)
    def rest(self, run: Plan) -> Plan:
        return run

    @rule(target=runs, plan=plans, name=names)
    def start(self, plan: Plan, name: str) -> Any:
        allowed = self.policy.may_start(name, plan[0])
        assert allowed is (SPELLING_OF[name] not in plan[1])
        return plan if allowed else multiple()


TestRules = Rules.TestCase
TestRules.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)


@given(names, names)
def test_two_spellings_are_one_user_exactly_when_they_are_of_one_person(one: str, other: str) -> None:
    assert same_user(one, other) is (SPELLING_OF[one] == SPELLING_OF[other])
    assert len(with_authors((), one, other)) == (1 if same_user(one, other) else 2)


def test_a_plan_without_known_authors_is_approved_by_no_user() -> None:
    assert not ApprovalPolicy(required=True).may_start("ada", ())
    assert ApprovalPolicy(required=False).may_start("ada", ("ada",))


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("approved", ["", "hash"])
@pytest.mark.parametrize("unseen", [True, False])
@pytest.mark.parametrize("deletes", [True, False])
def test_a_run_goes_on_only_with_what_was_shown_and_approved(
    *, required: bool, approved: str, unseen: bool, deletes: bool
) -> None:
    policy = ApprovalPolicy(required)
    goes_on = not policy.resume_needs_preview(approved=approved, unseen=unseen, deletes=deletes)
    assert goes_on is (not unseen and (bool(approved) or not (required or deletes)))


# --- one user alone, over HTTP

ACTIONS = (
    "upload",
    "map",
    "start",
    "start",
    "trial",
    "reject",
    "resume",
    "retry",
    "undo",
    "again",
    "rest",
    "pause",
    "stop",
)
steps = st.lists(st.tuples(st.sampled_from(ACTIONS), st.booleans(), st.integers(0, 5)), min_size=4, max_size=14)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Any, World, Browser, Browser, Program]]:
    """A console in a thread: a portal to it, olaf who tries everything, otto who has approved one trial, a token."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(three(tmp_path)) as (console, olaf, otto, _),
    ):
        yield portal, console, olaf, otto, portal.call(program_of, console, "olaf")


def test_no_sequence_of_actions_of_one_user_alone_changes_an_account(
    served: tuple[Any, World, Browser, Browser, Program],
) -> None:
    portal, *world = served
    number = count(1)

    @settings(
        max_examples=examples(5, soak=15),
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(steps)
    @example([("start", False, 1)])  # the rest of the trial, which another user has reviewed
    @example([("start", True, 1)])
    def hold(actions: list[tuple[str, bool, int]]) -> None:
        portal.call(alone, *world, actions, next(number))

    hold()


async def alone(  # noqa: PLR0917 - called through a portal, which takes no keywords
    console: World,
    olaf: Browser,
    otto: Browser,
    program: Program,
    actions: list[tuple[str, bool, int]],
    number: int,
) -> None:
    """Otto approves the first of five accounts of olaf's sheet, and reviews the others; then olaf acts alone."""
    rows = [f"robot-{5 * number + each:04},Example {number}" for each in range(5)]
    content = "\n".join(["name,display_name", *rows]).encode()
    path = await olaf.preview("accounts.csv", content)
    run_id = run_id_of(await otto.start(path, first="1"))
    assert "1 updated" in (await otto.run_ended(run_id)).text
    rest = (await otto.post(f"/runs/{run_id}/resume")).url.removeprefix(otto.base).removesuffix("/preview")
    paths, before = [path, rest], puts(console)
    for action, by_token, chosen in actions:
        if action == "upload":
            made: str | None = await olaf.preview("again.csv", content)
        else:
            made = await act(olaf, program, action, paths[chosen % len(paths)], run_id, by_token=by_token)
        if made is not None:
            paths.append(made)
    known = {record.run_id for record, _ in runs.list_runs(console.console.state_dir)}
    for each in known:
        await olaf.run_ended(each)
    assert puts(console) == before
    state = console.sandbox.state
    shown = [state.account_named(f"robot-{5 * number + each:04}").display_name for each in range(5)]
    assert [name == f"Example {number}" for name in shown] == [True, False, False, False, False]


async def act(olaf: Browser, program: Program, action: str, path: str, run_id: str, *, by_token: bool) -> str | None:
    """Do one thing, by a page or by the token; give the address of a sheet that this made."""
    if action in {"start", "trial"}:
        # The page hides the preview's id from an author; the interface for programs does not.
        preview = (await program.previewed(path.rsplit("/", 1)[1]))["preview"]
        first = 2 if action == "trial" else None
        if by_token:
            said = {"preview": preview, "first": first, "really": True}
            await program.ask("POST", f"{path}/start", json=said)
        else:
            await olaf.post(f"{path}/start", {"preview": preview, "first": str(first or ""), "really": "1"})
        return None
    if action == "reject":
        preview = (await program.previewed(path.rsplit("/", 1)[1]))["preview"]
        await olaf.post(f"{path}/reject", {"preview": preview, "comment": "mine"})
        return None
    if action == "map":
        if by_token:
            await program.ask("PATCH", path, json={"map": {"name": "name", "display_name": "display_name"}})
        else:
            await olaf.post(path, {"field-0": "name", "field-1": "display_name"})
        return None
    if by_token and action in {"resume", "rest"}:
        _, answer = await program.ask("POST", f"/runs/{run_id}/{action}")
        return f"/sheets/{answer['sheet']}" if "sheet" in answer else None
    page = await olaf.post(f"/runs/{run_id}/{'resume' if action == 'rest' else action}")
    return page.url.removeprefix(olaf.base).removesuffix("/preview") if "/sheets/" in page.url else None


def puts(console: World) -> int:
    """How many changes the server has been sent."""
    return sum(each for (method, _), each in console.sandbox.served.items() if method == "PUT")
