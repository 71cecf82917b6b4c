"""Requests are built as the vendor describes them, and responses are read or refused as a whole."""

from collections.abc import Callable
from urllib.parse import unquote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.identity.endpoints import (
    Page,
    UnexpectedResponseError,
    account_page,
    create_account,
    create_group,
    delete_accounts,
    get_account,
    list_accounts,
    list_groups,
    parse_account,
    parse_group,
    parse_groups,
    put_account,
    put_group,
)
from bulkid.model import Account, Action, Change, Group, Request
from tests.support.identity_wire import ORG

DTO = {
    "id": "88-uv",
    "name": "roby",
    "displayName": "Roby",
    "creationTime": "2024-01-31T08:15:00Z",
    "lastLoginTime": None,
    "groupIds": ["gryff-01"],
}


def _change(
    account_id: str = "88-uv",
    display_name: str | None = "Roby",
    add: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
) -> Change:
    return Change(account_id, "roby", (display_name,), sets_fields=False, add=add, remove=remove, before=None)


def test_the_list_is_asked_for_by_name_so_that_pages_do_not_shift() -> None:
    assert list_accounts(ORG) == Request("GET", f"api/RobotAccount/{ORG}?top=1000&skip=0&sortBy=name&sortOrder=asc")
    assert list_accounts("o", 2000, 5, "a&b=ü").path == (
        "api/RobotAccount/o?top=5&skip=2000&sortBy=name&sortOrder=asc&searchTerm=a%26b%3D%C3%BC"
    )


@pytest.mark.parametrize(("skip", "top"), [(0, 0), (0, 1001), (-1, 10)])
def test_a_page_that_the_server_would_refuse_is_not_asked_for(skip: int, top: int) -> None:
    with pytest.raises(ValueError, match="no such page"):
        list_accounts("o", skip, top)


def test_the_other_reads() -> None:
    assert get_account("o", "88-uv") == Request("GET", "api/RobotAccount/o/88-uv")
    assert list_groups("o") == Request("GET", "api/Group/o", keys=("id", "name", "type"))


def test_a_put_carries_its_four_fields_in_the_order_of_the_vendors_example() -> None:
    request = put_account(ORG, _change(add=("alumni-02",), remove=("x",)))
    assert (request.method, request.path) == ("PUT", "api/RobotAccount/88-uv")
    assert request.body == (
        b'{"partitionGlobalId":"3fa85f64-5717-4562-b3fc-2c963f66afa6","displayName":"Roby",'
        b'"groupIDsToAdd":["alumni-02"],"groupIDsToRemove":["x"]}'
    )


def test_the_display_name_is_left_out_when_unknown_and_sent_empty_when_cleared() -> None:
    assert put_account("o", _change(display_name=None)).body == (
        b'{"partitionGlobalId":"o","groupIDsToAdd":[],"groupIDsToRemove":[]}'
    )
    assert b'"displayName":""' in (put_account("o", _change(display_name="")).body or b"")


def test_a_group_put_always_carries_the_groups_name_and_both_lists() -> None:
    request = put_group(ORG, Group("g 1", "Zürich", "builtIn"), ["a", "b"], ("c",))
    assert (request.method, request.path) == ("PUT", "api/Group/g%201")
    assert (request.body or b"").decode() == (
        '{"partitionGlobalId":"3fa85f64-5717-4562-b3fc-2c963f66afa6","name":"Zürich",'
        '"directoryUserIDsToAdd":["a","b"],"directoryUserIDsToRemove":["c"]}'
    )
    assert (put_group("o", Group("1", "N"), (), []).body or b"").endswith(
        b'"name":"N","directoryUserIDsToAdd":[],"directoryUserIDsToRemove":[]}'
    )


def _creation(display_name: str | None, add: tuple[str, ...] = ()) -> Change:
    return Change("", "roby", (display_name,), sets_fields=True, add=add, remove=(), before=None, action=Action.CREATE)


def test_a_creation_carries_name_display_name_and_groups_and_is_not_to_be_repeated() -> None:
    request = create_account(ORG, _creation("Roby", ("alumni-02",)))
    assert request == Request("POST", "api/RobotAccount", request.body, idempotent=False)
    assert request.body == (
        b'{"partitionGlobalId":"3fa85f64-5717-4562-b3fc-2c963f66afa6","name":"roby","displayName":"Roby",'
        b'"groupIDsToAdd":["alumni-02"]}'
    )


@pytest.mark.parametrize("display_name", [None, ""])
def test_a_creation_leaves_out_a_display_name_that_there_is_not(display_name: str | None) -> None:
    assert create_account("o", _creation(display_name)).body == (
        b'{"partitionGlobalId":"o","name":"roby","groupIDsToAdd":[]}'
    )


def test_a_group_is_created_with_the_clients_id_and_its_members() -> None:
    request = create_group("o", Group("g-1", "Zürich"), ("a", "b"))
    assert request == Request("POST", "api/Group", request.body, ("id", "name", "type"), idempotent=False)
    assert (request.body or b"").decode() == (
        '{"partitionGlobalId":"o","id":"g-1","name":"Zürich","directoryUserMemberIDs":["a","b"]}'
    )


def test_a_deletion_names_accounts_in_its_body_and_may_be_repeated() -> None:
    request = delete_accounts("o 1", ("a", "b"))
    assert request == Request("DELETE", "api/RobotAccount/o%201", b'{"robotAccountIDs":["a","b"]}')
    assert request.idempotent


def test_half_a_surrogate_pair_is_sent_as_an_escape_and_not_a_crash() -> None:
    request = put_account("o", _change(account_id="a\ud800", display_name="\ud800"))
    assert request.path == "api/RobotAccount/a%3F"
    assert b'"displayName":"\\ud800"' in (request.body or b"")


@given(st.one_of(st.text(min_size=1), st.text(alphabet="./\\%a", min_size=1, max_size=8)))
def test_an_identifier_is_one_segment_of_the_path_whatever_it_holds(identifier: str) -> None:
    path = put_account("o", _change(account_id=identifier)).path
    prefix, _, segment = path.rpartition("/")
    assert prefix == "api/RobotAccount"
    assert segment.isascii()
    assert not set(segment) & set(" ?#\\")
    climbs = {".", ".."}
    assert not climbs & set(unquote(segment).replace("\\", "/").split("/"))
    if not climbs & set(identifier.replace("\\", "/").split("/")):
        assert unquote(segment) == identifier


@pytest.mark.parametrize(
    ("identifier", "segment"),
    [
        ("88-uv", "88-uv"),
        ("3FA85F64-5717-4562-b3fc-2c963f66afa6", "3FA85F64-5717-4562-b3fc-2c963f66afa6"),
        ("a/b", "a%2Fb"),
        ("a.b", "a.b"),
        ("v1..2", "v1..2"),
        ("ü?", "%C3%BC%3F"),
        ("100%", "100%25"),
        ("..", "%252E%252E"),
        (".", "%252E"),
        ("../x", "%252E%252E%2Fx"),
        ("..\\x", "%252E%252E%5Cx"),
    ],
)
def test_identifiers_keep_their_letters_and_cannot_climb(identifier: str, segment: str) -> None:
    assert put_account("o", _change(account_id=identifier)).path == f"api/RobotAccount/{segment}"


def test_an_empty_identifier_is_refused_since_it_would_name_the_list() -> None:
    with pytest.raises(ValueError, match="empty"):
        get_account("o", "")


def test_an_account_is_read_as_the_server_writes_it() -> None:
    assert parse_account(DTO) == Account("88-uv", "roby", ("Roby",), ("gryff-01",), "2024-01-31T08:15:00Z", "")


def test_null_display_name_is_none_and_null_groups_are_unknown() -> None:
    account = parse_account({"id": "1", "name": "n", "displayName": None, "groupIds": None})
    assert account == Account("1", "n", ("",), None, "", "")
    assert parse_account({**DTO, "groupIds": []}).group_ids == ()


def test_a_page_says_how_many_there_are_in_all() -> None:
    assert account_page({"totalCount": 7, "results": [DTO]}) == Page(7, (parse_account(DTO),))
    assert account_page({"totalCount": 0, "results": []}) == Page(0, ())


def test_a_group_that_the_server_repeats_counts_once() -> None:
    """A plan would show it twice, and the plan file with it would be refused as edited."""
    shown = {"id": "a1", "name": "roby", "displayName": "Roby", "groupIds": ["g2", "g1", "g2"]}
    assert parse_account(shown).group_ids == ("g2", "g1")
    assert account_page({"totalCount": 1, "results": [shown]}).accounts[0].group_ids == ("g2", "g1")


def test_one_string_per_group_is_kept_however_many_accounts_are_in_it() -> None:
    payload = orjson.loads(orjson.dumps({"totalCount": 2, "results": [DTO, {**DTO, "id": "2"}]}))
    first, second = account_page(payload).accounts
    assert first.group_ids is not None
    assert second.group_ids is not None
    assert first.group_ids[0] is second.group_ids[0]
    assert parse_groups([{"id": "gryff-01", "name": "Gryffindor"}])[0].id is first.group_ids[0]


def test_the_decoded_list_of_groups_is_let_go_of_as_it_is_read() -> None:
    payload = [{"id": str(number), "name": f"Team {number}"} for number in range(3)]
    assert [group.id for group in parse_groups(payload)] == ["0", "1", "2"]
    assert payload == []


def test_groups_are_read_with_their_type() -> None:
    assert parse_groups(
        [{"id": "1", "name": "Everyone", "type": "builtIn", "members": None}, {"id": "2", "name": "B", "type": 1}]
    ) == (Group("1", "Everyone", "builtIn"), Group("2", "B", "custom"))


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        *((value, "builtIn") for value in (0, "0", "builtIn", "BuiltIn", "builtin", " 0 ")),
        *((value, "custom") for value in (1, "1", "custom", "Custom", None, "", 2, -1, True, False, 0.0, [], {}, "x")),
    ],
)
def test_the_type_of_a_group_is_read_as_a_word_and_as_a_number(written: object, kind: str) -> None:
    dto = {"id": "1", "name": "Users", "type": written, "members": []}
    assert parse_group(dto) == Group("1", "Users", kind)
    assert parse_groups([dto]) == (Group("1", "Users", kind),)


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        {},
        {"id": "", "name": "n"},
        {"id": 1, "name": "n"},
        {"id": "1"},
        {"id": "1", "name": None},
        {"id": "1", "name": "n", "groupIds": "abc"},
        {"id": "1", "name": "n", "groupIds": {"a": 1}},
        {"id": "1", "name": "n", "groupIds": [1]},
        {"id": "1", "name": "n", "groupIds": 5},
        {"id": "1", "name": "n", "displayName": 5},
        {"id": "1", "name": "n", "creationTime": 5},
    ],
)
def test_an_account_of_another_shape_is_refused(payload: object) -> None:
    with pytest.raises(UnexpectedResponseError):
        parse_account(payload)
    with pytest.raises(UnexpectedResponseError):
        account_page({"totalCount": 1, "results": [payload]})


ITEM_VALUES = {
    "id": st.sampled_from(["88-uv", "88-UV", "7", "", None, 1]),
    "name": st.sampled_from(["roby", "", None, 1]),
    "displayName": st.sampled_from([None, "Roby", "", 0]),
    "groupIds": st.none() | st.lists(st.sampled_from(["gryff-01", "b", "", None, 1, ["a"]]), max_size=2) | st.just({}),
    "creationTime": st.sampled_from([None, "2024-01-31T08:15:00Z", "", 0, 5]),
    "lastLoginTime": st.sampled_from([None, "2024-01-31T08:15:00Z", [], {"a": 1}]),
}
WHOLE_ITEMS = st.fixed_dictionaries(
    {"id": st.sampled_from(["88-uv", "88-UV", "7"]), "name": st.sampled_from(["roby", "Roby", ""])},
    optional={
        "displayName": st.sampled_from([None, "Roby", ""]),
        "groupIds": st.none() | st.lists(st.sampled_from(["gryff-01", "b", ""]), max_size=2),
        "creationTime": st.sampled_from([None, "2024-01-31T08:15:00Z", "", 0]),
        "lastLoginTime": st.sampled_from([None, "2024-01-31T08:15:00Z", []]),
    },
)
ANY_ITEMS = st.fixed_dictionaries({}, optional=ITEM_VALUES) | st.sampled_from([None, [], "x", 1, {}])


@given(
    st.lists(WHOLE_ITEMS) | st.lists(WHOLE_ITEMS | ANY_ITEMS),
    st.sampled_from([{}, {"88-uv": "88-uv", "roby": "roby", "": ""}]),
)
def test_the_accounts_of_a_page_are_read_as_each_alone(items: list[object], texts: dict[str, str]) -> None:
    def alone() -> object:
        return Page(9, tuple(parse_account(item, texts) for item in items))

    def message(read: Callable[[], object]) -> object:
        try:
            return read()
        except UnexpectedResponseError as error:
            return error.message

    assert message(lambda: account_page({"totalCount": 9, "results": items}, texts)) == message(alone)


def test_accounts_of_the_same_groups_share_them_and_take_the_texts_of_the_caller() -> None:
    payload = orjson.loads(orjson.dumps({"totalCount": 2, "results": [DTO, {**DTO, "id": "2"}]}))
    account_id = "88-uv"  # the decoded one is another object
    first, second = account_page(payload, {account_id: account_id}).accounts
    assert first.group_ids is second.group_ids
    assert first.id is account_id


@pytest.mark.parametrize(
    "payload",
    [None, [], {}, {"results": []}, {"totalCount": 1}, {"totalCount": True, "results": []}]
    + [{"totalCount": count, "results": []} for count in ("1", -1, 1.5, None)],
)
def test_a_list_of_another_shape_is_refused(payload: object) -> None:
    with pytest.raises(UnexpectedResponseError) as refused:
        account_page(payload)
    assert "list of robot accounts" in refused.value.message


@pytest.mark.parametrize("payload", [None, {}, "x", [], [None], [{}], [{"id": "1"}], [{"id": "", "name": "n"}]])
def test_groups_of_another_shape_are_refused(payload: object) -> None:
    with pytest.raises(UnexpectedResponseError):
        parse_groups(payload)
    with pytest.raises(UnexpectedResponseError):
        parse_group(payload)


def test_a_refusal_of_a_shape_names_its_fields_but_never_their_values() -> None:
    with pytest.raises(UnexpectedResponseError) as refused:
        parse_account({"robotName": "hunter2", "b": 1})
    assert "robotName" in str(refused.value)
    assert "hunter2" not in str(refused.value)
