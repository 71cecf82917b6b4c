"""Secrets are redacted where they are registered, and where their context shows that they are secrets."""

import base64
import json
import string
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bulkid.redaction import MIN_LITERAL_LENGTH, REDACTED, Redactor

TOKEN = string.ascii_letters + string.digits + "-._~+/"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib3QifQ.c2lnbmF0dXJl"

any_secret = st.text(
    st.characters(codec="utf-8") | st.sampled_from([*"\"'\\/ %+&=\n\t:@{}[],;é語😀"]),
    min_size=MIN_LITERAL_LENGTH,
    max_size=24,
).filter(lambda text: text.strip() == text)
token = st.text(TOKEN, min_size=6, max_size=40).map(lambda text: "Zq9" + text)


@dataclass
class Holder:
    inside: object


class Unhelpful:
    def __repr__(self) -> str:
        raise RuntimeError("no text for you")


class Odd(Mapping[str, str]):
    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __getitem__(self, key: str) -> str:
        return self.secret

    def __iter__(self) -> Iterator[str]:
        return iter(["x"])

    def __len__(self) -> int:
        return 1


ENCODED: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: secret,
    "percent-encoded": lambda secret: urllib.parse.quote(secret, safe=""),
    "percent-encoded, lower case": lambda secret: (
        urllib.parse.quote(secret, safe="").replace("%2F", "%2f").replace("%2B", "%2b")
    ),
    "percent-encoded, most left": lambda secret: urllib.parse.quote(secret, safe="!$'()*,;:@/?~"),
    "in a form": lambda secret: urllib.parse.urlencode({"x": secret}),
    "every character percent-encoded": lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()),
    "in a form, every character percent-encoded": lambda secret: "+".join(
        "".join(f"%{byte:02X}" for byte in part.encode()) for part in secret.split(" ")
    ),
    "in JSON": lambda secret: json.dumps({"x": secret}),
    "in JSON, not only ASCII": lambda secret: json.dumps({"x": secret}, ensure_ascii=False),
    "in orjson": lambda secret: orjson.dumps({"x": [secret]}).decode(),
    "in JSON in JSON": lambda secret: json.dumps(json.dumps({"x": secret})),
    "as a literal": repr,
    "as a literal that holds both quotes": lambda secret: repr("'\"" + secret),
    "as ASCII": ascii,
    "as bytes' literal": lambda secret: repr(secret.encode()),
    "in an object's text": lambda secret: repr(Holder({"x": (secret,)})),
    "Base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "Base64 for addresses": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
}


@pytest.mark.parametrize("form", ENCODED)
@settings(max_examples=60)
@given(secret=any_secret, before=st.text(max_size=5), after=st.text(max_size=5))
@example(secret="quo\"te's", before="", after="")
@example(secret="it's-fine", before="", after="")
@example(secret="back\\slash", before="", after="")
@example(secret="a/b+c=d e", before="", after="")
def test_a_known_secret_is_found_in_every_form(form: str, secret: str, before: str, after: str) -> None:
    redactor = Redactor()
    encoded = ENCODED[form](secret)
    assume(secret not in REDACTED and encoded not in REDACTED)
    redactor.register(secret)
    shown = redactor.text(f"{before}{encoded}{after}")
    assert secret not in shown
    assert encoded not in shown
    assert REDACTED in shown


@settings(max_examples=60)
@given(secret=token, before=st.text(string.ascii_letters, max_size=9), after=st.text(string.ascii_letters, max_size=9))
def test_a_known_secret_is_found_inside_a_longer_base64_text(secret: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = redactor.text(encode(f"{before}:{secret}:{after}".encode()).decode())
        assert REDACTED in shown
        # what is left does not decode to the secret: at most a character at each end of it stands
        assert len(shown.replace(REDACTED, "")) <= (len(before) + len(after) + 2) * 4 // 3 + 9


BY_PLACE = [
    "Bearer {}",
    "bearer  {}",
    "BEARER {}, and more",
    "Authorization: Bearer {}",
    "Authorization: Basic {}\r\nAccept: */*",
    "authorization: {}",
    "Proxy-Authorization: Negotiate {}",
    "Authorization: Digest username=x, response={}",
    "{{'Authorization': 'Bearer {}', 'Accept': '*/*'}}",
    "<CIMultiDict('Authorization': 'Token {}')>",
    "b'Bearer {}'",
    "Basic {}",
    "Bearer%20{}",
    "Cookie: a=1; session={}; c=2",
    'Set-Cookie: s="{}"; Path=/',
    "grant_type=client_credentials&client_id=app&client_secret={}&scope=PM.RobotAccount",
    "https://host/connect/token?access_token={}",
    "https://host/x?refresh_token={}#frag",
    "url=https%3A%2F%2Fhost%3Fclient_secret%3D{}%26x%3D1",
    '{{"access_token":"{}","expires_in":3600}}',
    '{{"access_token": "{}"}}',
    '"{{\\"access_token\\": \\"{}\\"}}"',
    "{{'client_secret': '{}'}}",
    "client_secret = {}",
    "BULKID_CLIENT_SECRET={}",
    "password: {}",
    "api_key={}",
    "X-Api-Key: {}",
    "client_assertion={}&x=1",
]


@pytest.mark.parametrize("text", BY_PLACE)
@settings(max_examples=25)
@given(secret=token)
def test_an_unknown_secret_is_found_by_its_place(text: str, secret: str) -> None:
    shown = Redactor().text(text.format(secret))
    assert secret not in shown
    assert REDACTED in shown


@pytest.mark.parametrize("text", [text for text in BY_PLACE if "Basic" not in text])
def test_the_vendors_token_is_too_short_to_search_for_but_goes_by_its_place(text: str) -> None:
    redactor = Redactor()
    redactor.register("1234")
    assert "1234" not in redactor.text(text.format("1234"))
    assert redactor.text("row 1234 of 12345 at 12:34") == "row 1234 of 12345 at 12:34"
    assert redactor.value({"row": 1234, "token": 1234}) == {"row": 1234, "token": REDACTED}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://bob:s3cret@proxy:8080/x", f"http://{REDACTED}@proxy:8080/x"),
        ("http://bob:s3/cret@proxy:8080", f"http://{REDACTED}@proxy:8080"),
        ("https://s3cret@host/x and http://a:b@c", f"https://{REDACTED}@host/x and http://{REDACTED}@c"),
        (f"got {JWT}.", f"got {REDACTED}."),
        (f"({JWT.rsplit('.', 1)[0]})", f"({REDACTED})"),
        ("eyJhbGciOiJkaXIifQ..c2l2c2l2.Y2lwaGVy.dGFnZGFn", REDACTED),
        (f"\\n{JWT}", f"\\n{REDACTED}"),
    ],
)
def test_addresses_and_jwts(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The group alumni-02 does not exist.",
        "https://cloud.uipath.com/acme/identity_/connect/token",
        "https://host/connect/token: 400",
        "invalid_token: The access token expired",
        'Bearer error="invalid_token"',
        "Basic authentication is off",
        "a basic check",
        "BULKID_ACCESS_TOKEN is not set",
        "token_type=Bearer expires_in=3600",
        "token_endpoint=https://host/x",
        "mail a@b.c and https://host/x?mail=a@b",
        "Scope(s) 'PM.Group' is(are) invalid.",
        "keyboard.interrupted",
        "display name: Roby -> Robbie; + Finance; - Trainees",
        "100 % of 5%20",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    redactor = Redactor()
    redactor.register("another-secret")
    assert redactor.text(text) == text


@pytest.mark.parametrize(
    "key",
    [
        *("token", "access_token", "Authorization", "PROXY-AUTHORIZATION", "client_secret", "clientSecret", "password"),
        *("Set-Cookie", "x-api-key", "passwd", "passphrase", "credentials", b"authorization"),
    ],
)
@pytest.mark.parametrize("value", ["plain", b"plain", 12345, ["plain"], {"a": "plain"}, Holder("plain")])
def test_what_stands_under_a_secret_key_goes_whole(key: Any, value: object) -> None:
    name = key.decode() if isinstance(key, bytes) else key
    assert Redactor().value({"outer": [{key: value}]}) == {"outer": [{name: REDACTED}]}
    assert Redactor().value([(key, value)]) == [[name, REDACTED]], "headers as pairs"


@pytest.mark.parametrize(
    "key", ["token_expires_in", "token_type", "token_url", "token_generation", "client_secret_file", "row"]
)
def test_what_is_only_about_a_secret_stays(key: str) -> None:
    assert Redactor().value({key: 7}) == {key: 7}


def test_no_token_is_told_as_no_token() -> None:
    assert Redactor().value({"token": None, "secret": False}) == {"token": None, "secret": False}


NESTED: dict[str, Callable[[str], object]] = {
    "text": lambda secret: secret,
    "bytes": lambda secret: f"x{secret}".encode(),
    "bytearray": lambda secret: bytearray(secret.encode()),
    "memory": lambda secret: memoryview(secret.encode()),
    "list": lambda secret: [1, secret],
    "tuple in dict": lambda secret: {"a": (secret, None, True)},
    "set": lambda secret: {secret, "x"},
    "key": lambda secret: {secret: 1},
    "bytes key": lambda secret: {secret.encode(): 1},
    "object": Holder,
    "object in object": lambda secret: Holder([Holder(secret)]),
    "exception": lambda secret: ValueError("no", secret),
    "path": lambda secret: Path("/tmp") / secret.replace("/", "_"),  # noqa: S108 - nothing is written there
    "mapping of one's own": Odd,
    "deep": lambda secret: [[[[[[[[[[[[[[[[secret]]]]]]]]]]]]]]]],
    "address": lambda secret: f"https://host/x?q={urllib.parse.quote(secret, safe='')}",
}


@pytest.mark.parametrize("place", NESTED)
@settings(max_examples=30)
@given(secret=any_secret)
def test_a_known_secret_is_found_in_every_place_of_a_value(place: str, secret: str) -> None:
    assume(secret not in REDACTED and "/" not in secret)
    redactor = Redactor()
    redactor.register(secret)
    line = orjson.dumps(redactor.value(NESTED[place](secret)))
    text = json.loads(line)
    assert secret not in json.dumps(text, ensure_ascii=False)
    assert REDACTED in line.decode()


def test_numbers_can_be_secrets_too() -> None:
    redactor = Redactor()
    redactor.register("987654321")
    assert redactor.value([987654321, 1987654321.5, 5, 1.5, 2**70]) == [REDACTED, REDACTED, 5, 1.5, str(2**70)]


def test_values_become_what_json_knows_and_the_caller_keeps_his() -> None:
    mine = {"a": [1, {"b": "Bearer xyz"}], "when": None}
    shown = Redactor().value(mine)
    assert shown == {"a": [1, {"b": f"Bearer {REDACTED}"}], "when": None}
    assert mine["a"] == [1, {"b": "Bearer xyz"}]


def test_objects_that_cannot_be_shown_cost_only_their_own_text() -> None:
    assert Redactor().value([Unhelpful(), "b"]) == ["<Unhelpful that cannot be shown>", "b"]
    loop: list[object] = []
    loop.append(loop)
    orjson.dumps(Redactor().value(loop))
    assert Redactor().value("\ud800") == "\\ud800"


def test_long_containers_are_cut() -> None:
    shown = Redactor().value(range(10**9))
    assert isinstance(shown, list)
    assert (len(shown), shown[-1]) == (201, "... 999999800 more")
    assert len(Redactor().value(dict.fromkeys(range(1000)))) == 200  # type: ignore[arg-type] # a dict


@given(st.text(max_size=60) | st.sampled_from(BY_PLACE).map(lambda text: text.format("abc123")))
def test_taking_secrets_out_twice_changes_nothing_more(text: str) -> None:
    redactor = Redactor()
    redactor.register("abc123")
    once = redactor.text(text)
    assert redactor.text(once) == once


def test_a_secret_with_a_line_end_from_its_file_is_found_without_it() -> None:
    redactor = Redactor()
    redactor.register("from-a-file\n")
    assert redactor.text("got from-a-file here") == f"got {REDACTED} here"


def test_a_secret_that_holds_another_leaves_no_rest() -> None:
    redactor = Redactor()
    redactor.register("short-one")
    redactor.register("short-one-with-a-tail")
    assert redactor.text("x short-one-with-a-tail y") == f"x {REDACTED} y"
