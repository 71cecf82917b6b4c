"""The text of a change names every field and group, and can be parsed back."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import Account, Action, Change, Group
from bulkid.planning import plan
from bulkid.planning.directory import Directory
from bulkid.planning.plan import ChangeDescriber, describe, split_description
from bulkid.resources import DISPLAY_NAME, ROBOT_ACCOUNTS, Field, Resource, using
from tests.support.planning_world import LAW, ORG


class _Caseless(Field):
    def normalize(self, value: str) -> str:
        return value.lower()


THREE_FIELDS = replace(ROBOT_ACCOUNTS, fields=(DISPLAY_NAME, _Caseless("b", "b", "b", ()), Field("c", "c", "c", ())))
# Pieces of separators, so that whole ones come together.
TEXTS = st.lists(st.sampled_from(["", "a", "A", ";", " ", "+", "-", "\\", "; + "]), max_size=4).map("".join)
IDS = st.sampled_from(["g1", "G1", "g2", "unknown; - id"])
GROUPS = st.lists(IDS, max_size=2).map(tuple)


def _changes(resource: Resource) -> st.SearchStrategy[Change]:
    values = st.tuples(*[st.none() | TEXTS] * len(resource.fields))
    before = st.builds(Account, TEXTS, TEXTS, values, st.none() | GROUPS)
    return st.builds(
        Change, TEXTS, TEXTS, values, st.booleans(), GROUPS, GROUPS, st.none() | before, st.sampled_from(Action)
    )


def _parts(change: Change, directory: Directory, resource: Resource) -> list[str]:
    before = (None,) * len(resource.fields) if change.before is None else change.before.values
    fields = [
        field.describe_change(was, value) if change.action is Action.UPDATE else f'{field.label} "{value}"'
        for field, was, value in zip(resource.fields, before, change.values, strict=True)
        if change.sets_fields and value is not None and not field.equal(was, value)
        if value or change.action is Action.UPDATE
    ]
    removed = change.remove if change.action is Action.UPDATE else ()
    return (
        fields
        + [f"+ {directory.group_name(group)}" for group in change.add]
        + [f"- {directory.group_name(group)}" for group in removed]
    )


def _directory(names: tuple[str, str]) -> Directory:
    return Directory(ORG, None, [Group("g1", names[0]), Group("g2", names[1])])


def _holds(change: Change, names: tuple[str, str], resource: Resource) -> None:
    directory = _directory(names)
    parts = _parts(change, directory, resource)
    words = describe(change, directory)
    if change.action is Action.DELETE:
        assert words == "deleted"
        return
    joined = "; ".join(re.sub(r";(\\*) (?=[+-] )", r";\\\1 ", part) for part in parts)
    if change.action is Action.CREATE:
        joined = f"created: {joined}" if parts else "created"
    assert words == joined
    groups = [part for part in parts if part[:2] in {"+ ", "- "}]
    if change.action is Action.UPDATE and groups:
        assert split_description(words)[-len(groups) :] == groups


@LAW
@given(_changes(ROBOT_ACCOUNTS), st.tuples(TEXTS, TEXTS))
def test_a_change_is_described_field_by_field_and_group_by_group(change: Change, names: tuple[str, str]) -> None:
    _holds(change, names, ROBOT_ACCOUNTS)


@LAW
@given(_changes(THREE_FIELDS), st.tuples(TEXTS, TEXTS))
def test_a_change_of_several_fields_is_described_too(change: Change, names: tuple[str, str]) -> None:
    with using(THREE_FIELDS):
        _holds(change, names, THREE_FIELDS)


@LAW
@given(st.lists(_changes(ROBOT_ACCOUNTS), max_size=6), st.tuples(TEXTS, TEXTS), st.integers(0, 2))
def test_changes_described_together_are_described_as_each_alone(
    changes: list[Change], names: tuple[str, str], remembered: int
) -> None:
    directory = _directory(names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_MEMBERSHIPS_REMEMBERED", remembered)
        together = ChangeDescriber(directory)
        assert [together.describe(change) for change in changes] == [describe(change, directory) for change in changes]


def test_changes_of_one_list_of_groups_alone_are_not_mistaken_for_another() -> None:
    directory = _directory(("Finance", "Trainees"))
    lists = [(("g1",), ()), (("g1",), ("g2",)), ((), ("g1",)), ((), ()), (("g1",), ("g2",))]
    changes = [Change("1", "a", (None,), False, add, remove, None) for add, remove in lists]  # noqa: FBT003
    describer = ChangeDescriber(directory)
    assert [describer.describe(change) for change in changes] == [
        "+ Finance",
        "+ Finance; - Trainees",
        "- Finance",
        "",
        "+ Finance; - Trainees",
    ]
