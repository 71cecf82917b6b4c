"""Error bodies: the readable text is found in each form that the server is known to answer with."""

import unicodedata

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.identity.responses import read_error_body, safe_text

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJwcnRfaWQiOiJ4In0.c2lnbmF0dXJl"


def _in_words(status: int, payload: object) -> tuple[str, str]:
    return read_error_body(status, orjson.dumps(payload), "application/json; charset=utf-8")


@pytest.mark.parametrize(
    ("payload", "code", "message"),
    [
        (
            {"errorMessage": "Scope(s) 'x' is(are) invalid. Expect to have 'PM.RobotAccount' or 'y'"},
            "bad_request",
            "Scope(s) 'x' is(are) invalid. Expect to have 'PM.RobotAccount' or 'y'",
        ),
        ({"message": "No such account.", "errorCode": 1100, "traceId": "00-ab-00"}, "1100", "No such account."),
        ({"StatusCode": 400, "StatusDescription": "BadRequest", "Message": "Bad name."}, "bad_request", "Bad name."),
        ({"StatusCode": 400, "StatusDescription": "BadRequest", "Message": ""}, "bad_request", "BadRequest"),
        (
            {
                "errors": {"groupIDsToAdd": ["Too many.", "Not a GUID."], "": ["Body is missing."]},
                "title": "One or more validation errors occurred.",
                "status": 400,
                "traceId": "00-ab-00",
            },
            "bad_request",
            "One or more validation errors occurred. groupIDsToAdd: Too many. Not a GUID. Body is missing.",
        ),
        (
            {
                "error": {"code": 0, "message": "Invalid!", "details": "name is taken", "validationErrors": None},
                "success": False,
            },
            "bad_request",
            "Invalid! name is taken",
        ),
        (
            {"error": {"code": 7, "message": "Invalid!", "validationErrors": [{"message": "Too long", "members": []}]}},
            "7",
            "Invalid! Too long",
        ),
        (
            {"result": {"succeeded": False, "errors": [{"code": "DuplicateName", "description": "Name is taken."}]}},
            "DuplicateName",
            "Name is taken.",
        ),
        ({"error": "invalid_client", "error_description": "Unknown client."}, "invalid_client", "Unknown client."),
        ({"error": "invalid_client"}, "invalid_client", "invalid_client"),
        ({"title": "Not Found", "detail": "No account 88-uv."}, "bad_request", "No account 88-uv."),
        (["first", {"message": "second"}], "bad_request", "first; second"),
        ("just a string", "bad_request", "just a string"),
        ({}, "bad_request", "400 Bad Request"),
        ({"message": None, "errors": None, "error": None}, "bad_request", "400 Bad Request"),
        ({"message": {"text": 1}, "errorCode": None}, "bad_request", "400 Bad Request"),
        (17, "bad_request", "400 Bad Request"),
    ],
)
def test_the_readable_text_is_found_in_every_known_form(payload: object, code: str, message: str) -> None:
    assert _in_words(400, payload) == (code, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "502 Bad Gateway"),
        (b"   ", "502 Bad Gateway"),
        (b"<!DOCTYPE html><html><head><title>502 -\n Bad</title></head>", 'a web page, "502 - Bad"'),
        (b"<html>", "a web page"),
        (b"upstream is down\r\n", "upstream is down"),
        (b'{"message": "cut sho', '{"message": "cut sho'),
        (b'\xef\xbb\xbf{"message":"marked"}', "marked"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_a_body_that_is_no_json_is_told_as_what_it_is(body: bytes, message: str) -> None:
    assert read_error_body(502, body) == ("bad_gateway", message)


def test_a_status_that_nobody_knows_still_has_words() -> None:
    assert read_error_body(599, b"") == ("http_599", "599")


@pytest.mark.parametrize(
    "text",
    [
        f"token {JWT} is bad",
        f"Authorization: Bearer {JWT}",
        "Bearer 1234 was refused",
        'sent "client_secret": "hunter2hunter2"',
        "client_secret=hunter2hunter2&x=1",
        f"{'x' * 9_995}{JWT}",
        "the secret sesame-open is wrong",
        "sesame-\x00open sesame-open",
    ],
)
def test_no_token_and_no_secret_gets_through(text: str) -> None:
    for status, body in ((400, text.encode()), (400, orjson.dumps({"message": text, "errorCode": text}))):
        said = " ".join(read_error_body(status, body, secrets=("sesame-open",)))
        assert not any(secret in said for secret in ("eyJ", "1234", "hunter2", "sesame-open"))


def test_a_known_secret_is_found_across_a_cut_and_across_a_line_break() -> None:
    assert "sesame" not in safe_text(" " * 9_990 + "sesame-open-wide", ["sesame-open-wide"])
    assert "sesame" not in safe_text("open\nsesame", ["open sesame"])


def test_an_error_that_is_no_sentence_is_not_taken_apart() -> None:
    payload = {"padding": "x" * 300_000, "message": "found"}
    assert _in_words(400, payload)[1].startswith('{"padding":"xxx')


def test_long_text_is_cut_to_a_bound_and_says_so() -> None:
    code, message = _in_words(400, {"message": "word " * 1000, "errorCode": "c" * 1000})
    assert len(message) == 500
    assert message.endswith("…")
    assert len(code) == 100


@given(
    st.integers(-5, 999),
    st.one_of(
        st.binary(),
        st.text().map(str.encode),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text()),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(
                    st.sampled_from(
                        ["error", "errors", "message", "Message", "code", "result", "details", "title", "x"]
                    ),
                    inner,
                    max_size=4,
                ),
            ),
            max_leaves=12,
        ).map(orjson.dumps),
    ),
    st.sampled_from(["", "text/html", "application/json", "\x00"]),
)
def test_any_bytes_become_a_code_and_a_bounded_printable_line(status: int, body: bytes, content_type: str) -> None:
    code, message = read_error_body(status, body, content_type)
    for text, limit in ((code, 100), (message, 500)):
        assert 0 < len(text) <= limit
        assert text == text.strip()
        assert not any(unicodedata.category(char)[0] == "C" for char in text)
        text.encode()


@given(st.text(), st.text(min_size=4, max_size=20), st.text())
def test_a_known_secret_never_survives(before: str, secret: str, after: str) -> None:
    if secret in "[redacted]…":
        return
    said = safe_text(f"{before}{secret}{after}", [secret])
    assert secret not in said or secret in before + after  # the same letters may arise from what stands around them


def test_deep_nesting_ends() -> None:
    body = b'{"result":' * 500 + b"1" + b"}" * 500
    assert read_error_body(400, body) == ("bad_request", "400 Bad Request")
