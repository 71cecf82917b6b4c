"""The hash of a plan: equal for plans that send the same, different for all others."""

from dataclasses import replace
from typing import Any

import pytest

from bulkid.model import NEW_GROUP, Account, Action, Change, ChangeBound, DesiredState, Group
from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan
from bulkid.runs import Preview, RunOptions, plan_hash, sent_of
from bulkid.sheet import SheetInfo

OPTIONS = RunOptions()


def account(number: int, **more: Any) -> Account:
    return Account(f"id-{number}", f"robot-{number}", (f"Robot {number}",), ("g1",))._replace(**more)


def desired(number: int, **more: Any) -> DesiredState:
    made = DesiredState(f"id-{number}", f"robot-{number}", (f"New {number}",), ("g2",), (), None, (number + 1,))
    return made._replace(**more)


def change(number: int, **more: Any) -> Change:
    made = Change(
        account_id=f"id-{number}",
        name=f"robot-{number}",
        values=(f"New {number}",),
        sets_fields=True,
        add=("g2",),
        remove=(),
        before=account(number),
    )
    return made._replace(**more)


def preview(*changes: Change, **more: Any) -> Preview:
    """A plan of three changes, or of these."""
    made = changes or tuple(change(number) for number in range(1, 4))
    plan = Plan(tuple(made), tuple(desired(number) for number in range(1, len(made) + 1)), (desired(9),))
    whole = Preview(
        info=SheetInfo("a.csv", "csv", "", "utf-8", ",", ("name",), ("name",)),
        plan=plan,
        directory=Directory("org", (), ()),
        base_url="https://one.example/identity",
        organization_id="org",
        rows=4,
        row_errors=(),
        rules=(),
        rate=None,
        eta_s=0.0,
        requests={},
        skipped=0,
        warnings=(),
        excess=None,
    )
    return replace(whole, **more)


BASE = preview()


@pytest.mark.parametrize(
    "other",
    [
        preview(base_url="https://two.example/identity"),
        preview(organization_id="another"),
        preview(change(1), change(2)),
        preview(change(2), change(1), change(3)),
        preview(change(1), change(2), change(3, values=("Other",))),
        preview(change(1), change(2), change(3, before=account(3, values=("Somebody else",)))),
        preview(change(1), change(2), change(3, add=())),
        preview(change(1), change(2), change(3, remove=("g1",))),
        preview(change(1), change(2), change(3, account_id="id-4")),
        preview(plan=replace(BASE.plan, unchanged=())),
        preview(plan=replace(BASE.plan, unchanged=(desired(9, values=("\ud800",)),))),
        preview(plan=replace(BASE.plan, changing=(desired(1), desired(2), desired(3, exact=("g2",))))),
    ],
)
def test_a_plan_that_sends_or_requests_something_else_has_another_hash(other: Preview) -> None:
    assert plan_hash(other, OPTIONS) != plan_hash(BASE, OPTIONS)


@pytest.mark.parametrize(
    "other",
    [
        {"first": 2},
        {"via": "groups"},
        {"group_batch": 3},
        {"skip_invalid": True},
        {"read": False},
        {"yes_really": True},
        {"max_change": ChangeBound(count=5)},
        {"max_change": ChangeBound(percent=5)},
        {"create_missing": True},
        {"create_groups": True},
        {"new_groups": ("Newcomers",)},
        {"allow_delete": True},
        {"max_delete": ChangeBound(count=5)},
    ],
)
def test_options_that_decide_what_is_sent_are_part_of_the_hash(other: dict[str, Any]) -> None:
    assert plan_hash(BASE, replace(OPTIONS, **other)) != plan_hash(BASE, OPTIONS)


@pytest.mark.parametrize(
    "other",
    [
        preview(),
        preview(warnings=("x",), eta_s=5.0, requests={"GET": 3}, rate=2.0, rows=7),
        preview(change(1), change(2), change(3, before=account(3, group_ids=("g1", "g7")))),
    ],
)
def test_what_a_change_leaves_as_it_is_and_what_it_takes_to_send_it_are_no_part(other: Preview) -> None:
    assert plan_hash(other, OPTIONS) == plan_hash(BASE, OPTIONS)


def creation(name: str = "made", **more: Any) -> Change:
    made = Change("", name, ("Made",), sets_fields=True, add=("g2",), remove=(), before=None, action=Action.CREATE)
    return made._replace(**more)


def deletion(**more: Any) -> Change:
    before = account(1, last_login="2026-01-31T08:15:00Z")._replace(**more)
    made = Change("id-1", "robot-1", (None,), sets_fields=False, add=(), remove=(), before=before)
    return made._replace(action=Action.DELETE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (creation(), creation("other")),
        (creation(), creation(add=())),
        (creation(), creation(values=("Other",))),
        (creation(), creation()._replace(action=Action.UPDATE)),
        (deletion(), deletion()._replace(action=Action.UPDATE)),
        (deletion(), deletion(last_login="")),
        (deletion(), deletion(group_ids=("g1", "g2"))),
        (deletion(), deletion(values=("Renamed",))),
    ],
)
def test_a_creation_and_all_that_a_deletion_ends_are_part_of_the_hash(one: Change, other: Change) -> None:
    assert plan_hash(preview(one), OPTIONS) != plan_hash(preview(other), OPTIONS)
    assert plan_hash(preview(one), OPTIONS) == plan_hash(preview(one), OPTIONS)


def with_new_group(group_id: str, name: str = "Newcomers") -> Preview:
    made = preview(change(1, add=("g2", group_id)), creation(add=(group_id,)))
    changing = tuple(each._replace(add=(group_id,)) for each in made.plan.changing)
    plan = replace(made.plan, changing=changing, new_groups=(Group(group_id, name, NEW_GROUP),))
    return replace(made, plan=plan)


def test_a_new_group_counts_by_its_name_since_each_plan_gives_it_another_id() -> None:
    assert plan_hash(with_new_group("id-1"), OPTIONS) == plan_hash(with_new_group("id-2"), OPTIONS)
    assert plan_hash(with_new_group("id-1"), OPTIONS) != plan_hash(with_new_group("id-1", "Others"), OPTIONS)
    one, other = with_new_group("id-1").plan, with_new_group("id-2").plan
    sent = [sent_of(each, one) for each in one.changes]
    assert sent == [sent_of(each, other) for each in other.changes]
    named = replace(one, new_groups=())  # an existing group of that id
    assert sent != [sent_of(each, named) for each in one.changes]


def test_the_hash_does_not_cover_a_name_that_the_change_leaves_as_it_is() -> None:
    one, other = (change(1, sets_fields=False, values=(name,)) for name in ("As it was", "As it is"))
    assert plan_hash(preview(one), OPTIONS) == plan_hash(preview(other), OPTIONS)


def test_groups_that_an_account_leaves_count_in_any_order_and_case() -> None:
    """Those of an exact list are in the order of the server's answer, which may be another each time."""
    one, other = change(1, remove=("g3", "g1")), change(1, remove=("G1", "g3"))
    assert plan_hash(preview(one), OPTIONS) == plan_hash(preview(other), OPTIONS)
    assert sent_of(one, BASE.plan) == sent_of(other, BASE.plan)


def test_a_trial_has_one_hash_whether_it_is_cut_before_or_after() -> None:
    plan, trial = BASE.plan, replace(OPTIONS, first=1)
    cut = replace(plan, changes=plan.changes[:1], changing=plan.changing[:1], skipped=plan.changing[1:])
    assert plan_hash(replace(BASE, plan=cut), trial) == plan_hash(BASE, trial)
