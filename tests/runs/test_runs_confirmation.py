"""A response that shows the change confirms it; where one does not, the account is read back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.identity.endpoints import parse_account
from bulkid.model import Change
from bulkid.planning.plan import confirms
from bulkid.runs.execution.account_sender import matches_exactly

GROUPS = st.lists(st.sampled_from(["g1", "G1", "g2", "g3", "\u00e4", "\u00c4"]), max_size=3)
NAMES = st.sampled_from([None, "", "Roby", "roby"])


def change(display_name: str | None, add: Any = (), remove: Any = ()) -> Change:
    return Change("88-uv", "roby", (display_name,), sets_fields=True, add=tuple(add), remove=tuple(remove), before=None)


def account(**fields: Any) -> dict[str, Any]:
    return {"id": "88-uv", "name": "roby", "displayName": "Roby", "groupIds": ["g1", "g2"], **fields}


@given(NAMES, GROUPS, GROUPS, NAMES, st.none() | GROUPS)
def test_what_is_shown_plainly_is_confirmed_by_the_closer_look_too(
    wanted: str | None, add: list[str], remove: list[str], answered: str | None, groups: list[str] | None
) -> None:
    asked, payload = change(wanted, add, remove), account(displayName=answered, groupIds=groups)
    if matches_exactly(asked, payload):
        assert confirms(asked, parse_account(payload))


def test_the_common_answer_is_plain() -> None:
    assert matches_exactly(change("Roby", ["g2"]), account())


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "yes",
        {},
        account(displayName="roby"),
        account(groupIds=["g1"]),
        account(groupIds=None),
        account(groupIds="g2"),
        account(id=""),
        account(id="88-UV"),
        account(id="another-one"),
        account(id=88),
        account(name=None),
        {"id": "88-uv", "displayName": "Roby", "groupIds": ["g2"]},
    ],
)
def test_anything_else_is_left_to_the_closer_look(payload: object) -> None:
    assert not matches_exactly(change("Roby", ["g2"]), payload)


def test_leaving_a_group_is_left_to_the_closer_look() -> None:
    assert not matches_exactly(change("Roby", ["g2"], ["g3"]), account())
