"""The meaning of a response depends on its status and form alone."""

from email.utils import formatdate

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkid.identity.responses import decode_keys, decode_list, parse_retry_after, read_response
from bulkid.model import Reply, ReplyKind

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!DOCTYPE html><html><head><title>Orchestrator</title></head></html>"


def _read(status: int, body: bytes = b"{}", headers: dict[str, str] = JSON) -> Reply:
    return read_response(status, headers, body, now=1_000_000.0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, ReplyKind.OK),
        (201, ReplyKind.OK),
        (204, ReplyKind.OK),
        (301, ReplyKind.NOT_JSON),
        (302, ReplyKind.NOT_JSON),
        (307, ReplyKind.NOT_JSON),
        (400, ReplyKind.REFUSED),
        (401, ReplyKind.UNAUTHORIZED),
        (403, ReplyKind.FORBIDDEN),
        (404, ReplyKind.REFUSED),
        (405, ReplyKind.REFUSED),
        (408, ReplyKind.SERVER_ERROR),
        (409, ReplyKind.REFUSED),
        (413, ReplyKind.REFUSED),
        (418, ReplyKind.REFUSED),
        (422, ReplyKind.REFUSED),
        (425, ReplyKind.SERVER_ERROR),
        (429, ReplyKind.THROTTLED),
        (499, ReplyKind.REFUSED),
        (500, ReplyKind.SERVER_ERROR),
        (501, ReplyKind.SERVER_ERROR),
        (502, ReplyKind.SERVER_ERROR),
        (503, ReplyKind.UNAVAILABLE),
        (504, ReplyKind.SERVER_ERROR),
        (520, ReplyKind.SERVER_ERROR),
        (999, ReplyKind.SERVER_ERROR),
    ],
)
def test_the_status_decides_the_kind(status: int, kind: ReplyKind) -> None:
    reply = _read(status)
    assert (reply.kind, reply.status) == (kind, status)
    assert bool(reply.error) == (kind is not ReplyKind.OK)


def test_a_success_hands_over_what_it_says() -> None:
    assert _read(200, b'{"id":"1"}') == Reply(ReplyKind.OK, 200, {"id": "1"})
    assert _read(204, b"") == Reply(ReplyKind.OK, 204)
    assert _read(200, b'{"id":"1"}', {"Content-Type": "text/html"}).payload == {"id": "1"}
    assert _read(200, b"[]", {}).payload == []
    assert _read(200, b"\xef\xbb\xbf[1]").payload == [1]


@pytest.mark.parametrize(
    "body", [PAGE, b"", b"  ", b'{"id":', b"OK", b"\xff", b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf1"]
)
@pytest.mark.parametrize("headers", [JSON, HTML, {}])
def test_a_success_that_cannot_be_decoded_is_no_success(body: bytes, headers: dict[str, str]) -> None:
    reply = _read(200, body, headers)
    assert (reply.kind, reply.payload, reply.error_code) == (ReplyKind.NOT_JSON, None, "not_json")
    assert ("web page" in reply.error) == (body is PAGE or headers is HTML)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, ReplyKind.NOT_JSON),
        (405, ReplyKind.NOT_JSON),
        (400, ReplyKind.REFUSED),
        (403, ReplyKind.FORBIDDEN),
        (429, ReplyKind.THROTTLED),
        (502, ReplyKind.SERVER_ERROR),
        (503, ReplyKind.UNAVAILABLE),
    ],
)
def test_a_page_means_that_there_is_no_api_only_where_the_status_says_that_nothing_is_there(
    status: int, kind: ReplyKind
) -> None:
    reply = _read(status, PAGE, HTML)
    assert reply.kind is kind
    assert "Orchestrator" in reply.error


def test_a_redirect_names_its_target_without_the_query() -> None:
    reply = _read(302, b"", {"Location": "https://login.example.com/x?token=hunter2#hunter2"})
    assert reply.error_code == "redirect"
    assert "https://login.example.com/x" in reply.error
    assert "hunter2" not in reply.error
    assert _read(302, b"", {}).error == "The server sends elsewhere (302 Found)."


def test_known_secrets_never_reach_the_words() -> None:
    body = orjson.dumps({"message": "token opensesame is bad", "errorCode": "opensesame"})
    for status, headers in ((400, JSON), (302, {"Location": "https://x/opensesame"})):
        reply = read_response(status, headers, body, 0.0, secrets=("opensesame",))
        assert "opensesame" not in f"{reply.error}{reply.error_code}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("NaN", None),
        ("inf", None),
        ("٣", None),
        ("12345678901234567890", None),
        ("1, 2", None),
    ],
)
def test_retry_after_in_seconds(value: str, expected: float | None) -> None:
    assert parse_retry_after(value, "", 1_000_000.0) == expected


def test_retry_after_as_a_date_is_relative_to_the_servers_clock_else_to_ours() -> None:
    later, earlier, now = (formatdate(1_000_000 + shift, usegmt=True) for shift in (90, -90, 30))
    assert parse_retry_after(later, now, 5.0) == 60.0
    assert parse_retry_after(later, "", 1_000_000.0) == 90.0
    assert parse_retry_after(later, "no date", 1_000_000.0) == 90.0
    assert parse_retry_after(earlier, now, 5.0) == 0.0
    assert parse_retry_after("Fri, 31 Jan 2026 08:15:00 -0000", "Fri, 31 Jan 2026 08:14:00 GMT", 0.0) == 60.0


def test_retry_after_reaches_the_reply_whatever_the_failure() -> None:
    headers = {**JSON, "Retry-After": "9"}
    for status in (429, 503, 500, 400):
        assert _read(status, headers=headers).retry_after == 9.0
    assert _read(404, PAGE, {**HTML, "Retry-After": "9"}).retry_after == 9.0


@given(st.text(), st.text(), st.floats(0, 4e9))
def test_any_retry_after_is_a_wait_or_nothing(value: str, date: str, now: float) -> None:
    wait = parse_retry_after(value, date, now)
    assert wait is None or wait >= 0


@given(
    st.integers(200, 999),
    st.binary(),
    st.dictionaries(st.sampled_from(["Content-Type", "Location", "Retry-After", "Date"]), st.text()),
)
def test_any_answer_becomes_a_reply(status: int, body: bytes, headers: dict[str, str]) -> None:
    reply = read_response(status, headers, body, 0.0)
    assert (reply.kind is ReplyKind.OK) == (reply.error == "" and reply.error_code == "")
    assert len(reply.error) <= 700


# --- long lists

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.sampled_from('},{"[]\\ aé'), max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "name", "x", '},{"']), inner),
    max_leaves=8,
)


def only(keys: tuple[str, ...], decoded: object) -> object:
    if not isinstance(decoded, list):
        return decoded
    return [{key: item[key] for key in keys if key in item} if isinstance(item, dict) else item for item in decoded]


@given(VALUES | st.lists(st.dictionaries(st.sampled_from(["id", "name", "x"]), VALUES), max_size=5), st.integers(0, 40))
@example([{"id": "},{"}, {"id": [{"id": 1}, {"id": 2}]}, {"x": 1}], 0)
def test_a_list_that_is_decoded_in_parts_is_the_same_with_fewer_keys(value: object, part_size: int) -> None:
    body = orjson.dumps(value)
    keys = ("id", "name")
    assert decode_list(b" " + body + b"\r\n", keys, part_size) == only(keys, value)


@given(
    st.lists(st.sampled_from(['{"id":1}', ",", "[", "]", "},{", '"', "{", "}", "1", " ", '{"id":"a"},{"id":2}', "\v"]))
)
@example(["[", '{"id":"a"},{"id":2}', ",", "]"])
def test_what_is_no_json_as_a_whole_is_none_in_parts(pieces: list[str]) -> None:
    body = "".join(pieces).encode()
    try:
        expected = only(("id",), orjson.loads(body))
    except orjson.JSONDecodeError:
        with pytest.raises(orjson.JSONDecodeError):
            decode_list(body, ("id",), 0)
    else:
        assert decode_list(body, ("id",), 0) == expected


# --- one object with a long list

MEMBER_VALUES = st.recursive(
    st.none() | st.booleans() | st.text(st.sampled_from('"members":[]{}, \\é'), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "name", "members", '"members":[']), inner)
    ),
    max_leaves=8,
)
KEYS = ("id", "name")


@given(
    st.dictionaries(st.sampled_from(["id", "name", "members", "x", '"members":[']), MEMBER_VALUES),
    st.sampled_from([None, orjson.OPT_INDENT_2]),
)
@example({"id": "g", "members": [{"id": "a"}], "name": "n]"}, None)
@example({"members": [{"id": "a"}], "id": "g", "name": "n", "x": ["y"]}, None)
@example({"id": "g", "name": {"members": [None]}}, None)
@example({"x": [{"members": [1]}], "id": "g", "name": "n", "members": []}, None)
def test_an_object_without_its_members_has_the_same_keys(value: dict[str, object], option: int | None) -> None:
    expected = {key: value[key] for key in KEYS if key in value}
    assert decode_keys(orjson.dumps(value, option=option), KEYS) == expected


def test_the_members_of_a_group_are_not_decoded() -> None:
    """A list that is no JSON shows it: decoding it fails."""
    assert decode_keys(b'{"id":"g","members":[not JSON],"name":"n"}', KEYS) == {"id": "g", "name": "n"}
    assert decode_keys(b'[{"id":"g","x":1}]', KEYS) == [{"id": "g"}]
    for cut in (b'{"id":"g","name":"n","members":[{"id":"a"},{"id', b'{"id":"g"', b'{"id":"g","members":[[1],{"a'):
        with pytest.raises(orjson.JSONDecodeError):
            decode_keys(cut, KEYS)
