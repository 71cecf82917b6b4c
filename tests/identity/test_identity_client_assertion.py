"""Login without a secret: a JWT from a file, read again for every token; two endpoints, of which one works."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import AuthenticationError, BulkidError, ConnectionFailedError, UsageError
from bulkid.identity.client_assertion import read_client_assertion
from bulkid.identity.jwt import is_jwt
from bulkid.identity.tokens import FederatedCredentials, Token
from bulkid.identity.urls import complete_url
from bulkid.model import Reply, ReplyKind
from bulkid.redaction import redact_text
from tests.support.assertions import assertion, assertion_file
from tests.support.identity_wire import HandClock

ORGANIZATION, HOST = "connect/token", "/identity_/connect/token"
NOW = HandClock().now()
PAGE = Reply(ReplyKind.NOT_JSON, 200, error_code="not_json", error="The server answered with a web page.")
MISSING = Reply(ReplyKind.REFUSED, 404, error_code="not_found", error="404 Not Found")
UNKNOWN = Reply(ReplyKind.REFUSED, 400, error_code="invalid_client", error="invalid_client")
NO_ORGANIZATION = Reply(ReplyKind.REFUSED, 400, error_code="1100", error="The organization is missing.")
SCOPE = Reply(ReplyKind.REFUSED, 400, error_code="invalid_scope", error="Not granted.")
DOWN = Reply(ReplyKind.UNAVAILABLE, 503, error_code="service_unavailable", error="down")
REDIRECT = Reply(ReplyKind.NOT_JSON, 302, error_code="redirect", error="The server sends elsewhere.")


def granted(count: int) -> Reply:
    return Reply(ReplyKind.OK, 200, {"access_token": f"token-{count}", "expires_in": 3600})


class Endpoints:
    """Two token endpoints, each of which answers in one way until told otherwise."""

    def __init__(self, **answers: Reply | Callable[[int], Reply]) -> None:
        self.answers = {ORGANIZATION: answers.get("organization", granted), HOST: answers.get("host", granted)}
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []

    async def __call__(self, path: str, form: bytes) -> Reply:
        self.asked.append(path)
        self.forms.append({key: value for key, (value,) in parse_qs(form.decode()).items()})
        answer = self.answers[path]
        return answer if isinstance(answer, Reply) else answer(len(self.asked))


class Login:
    """A token source over a file in a folder of its own."""

    def __init__(
        self, folder: Path, endpoints: Endpoints, *, scope: str = "PM.RobotAccount", host: bool = True
    ) -> None:
        self.clock = HandClock()
        self.file = assertion_file(folder / "token", expires_at=NOW + 600)
        self.endpoints = endpoints
        self.tokens = FederatedCredentials("app", self.file, scope, self.clock)
        self.tokens.connect(endpoints, "/identity_" if host else "")

    async def token(self) -> str:
        token = await self.tokens.current()
        assert isinstance(token, Token), token
        return token.value

    async def refusal(self) -> BulkidError:
        with pytest.raises(BulkidError) as caught:
            await self.tokens.current()
        return caught.value


async def test_the_form_carries_the_assertion_and_no_secret(tmp_path: Path) -> None:
    login = Login(tmp_path, Endpoints())
    assert await login.token() == "token-1"
    assert login.endpoints.forms == [
        {
            "grant_type": "client_credentials",
            "client_id": "app",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": login.file.read_text().strip(),
            "scope": "PM.RobotAccount",
        }
    ]


async def test_the_file_is_read_again_for_every_token(tmp_path: Path) -> None:
    login = Login(tmp_path, Endpoints())
    await login.token()
    assertion_file(login.file, expires_at=NOW + 9000, jti="second")
    second = login.file.read_text().strip()
    assert await login.token() == "token-1"  # the token lives: nothing is asked or read
    login.clock.time += 3600
    assert await login.token() == "token-2"
    assert [form["client_assertion"] == second for form in login.endpoints.forms] == [False, True]


# --- which endpoint


@pytest.mark.parametrize("first", [PAGE, MISSING, UNKNOWN])
async def test_the_host_is_asked_where_the_organisation_knows_no_such_client_and_is_remembered(
    tmp_path: Path, first: Reply
) -> None:
    login = Login(tmp_path, Endpoints(organization=first))
    await login.token()
    assertion_file(login.file, expires_at=NOW + 9000)
    login.clock.time += 3600
    await login.token()
    assert login.endpoints.asked == [ORGANIZATION, HOST, HOST]
    assert login.tokens.fetches == 3


async def test_the_organisation_s_endpoint_is_remembered_too(tmp_path: Path) -> None:
    login = Login(tmp_path, Endpoints())
    await login.token()
    login.endpoints.answers[ORGANIZATION] = UNKNOWN
    assertion_file(login.file, expires_at=NOW + 9000)
    login.clock.time += 3600
    assert "invalid_client" in (await login.refusal()).message
    assert login.endpoints.asked == [ORGANIZATION, ORGANIZATION]


@pytest.mark.parametrize(
    "first", [SCOPE, NO_ORGANIZATION, UNKNOWN._replace(error_code="unauthorized_client"), DOWN, REDIRECT]
)
async def test_any_other_answer_of_the_organisation_does_not_lead_to_the_host(tmp_path: Path, first: Reply) -> None:
    login = Login(tmp_path, Endpoints(organization=first))
    if first.kind is ReplyKind.REFUSED:
        await login.refusal()
    else:
        assert isinstance(await login.tokens.current(), Reply)
    assert login.endpoints.asked == [ORGANIZATION]


@pytest.mark.parametrize("first", [PAGE, MISSING, UNKNOWN])
async def test_without_another_endpoint_only_one_is_asked(tmp_path: Path, first: Reply) -> None:
    login = Login(tmp_path, Endpoints(organization=first), host=False)
    if first is PAGE:
        assert isinstance(await login.tokens.current(), Reply)
    else:
        await login.refusal()
    assert login.endpoints.asked == [ORGANIZATION]


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (UNKNOWN, NO_ORGANIZATION, "invalid_client"),
        (UNKNOWN, PAGE, "invalid_client"),
        (UNKNOWN, UNKNOWN, "invalid_client"),
        (UNKNOWN, SCOPE, "invalid_scope"),
        (MISSING, UNKNOWN, "invalid_client"),
        (PAGE, NO_ORGANIZATION, "The organization is missing"),
        (MISSING, MISSING, "no token endpoint"),
    ],
)
async def test_of_two_refusals_the_one_that_says_more_is_shown(
    tmp_path: Path, first: Reply, then: Reply, said: str
) -> None:
    login = Login(tmp_path, Endpoints(organization=first, host=then))
    error = await login.refusal()
    assert isinstance(error, ConnectionFailedError)
    assert said in error.message
    assert await login.refusal() is not error
    assert len(login.endpoints.asked) == 2  # a refusal is not tried again


async def test_an_unknown_client_is_told_what_the_assertion_says(tmp_path: Path) -> None:
    error = await Login(tmp_path, Endpoints(organization=UNKNOWN, host=UNKNOWN)).refusal()
    for part in ("BULKID_CLIENT_ID", "iss https://issuer.example.com", "sub repo:acme/robots", "aud https://cloud."):
        assert part in error.hint
    assert "SECRET" not in error.hint


async def test_a_host_that_is_down_is_asked_again_later(tmp_path: Path) -> None:
    login = Login(tmp_path, Endpoints(organization=UNKNOWN, host=DOWN))
    assert isinstance(await login.tokens.current(), Reply)
    login.endpoints.answers[HOST] = granted
    await login.token()
    assert login.endpoints.asked == [ORGANIZATION, HOST, ORGANIZATION, HOST]


async def test_a_narrower_scope_is_asked_for_at_the_host_too(tmp_path: Path) -> None:
    def grant_narrow(count: int) -> Reply:
        return SCOPE if count == 2 else granted(count)

    login = Login(tmp_path, Endpoints(organization=UNKNOWN, host=grant_narrow), scope="")
    assert await login.token() == "token-4"
    assert len({form["scope"] for form in login.endpoints.forms}) == 2


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("https://cloud.uipath.com/acme", "/identity_"),
        ("https://suite.example.com/acme", "/identity_"),
        ("https://suite.example.com/identity_", ""),
        ("https://orchestrator.example.com", ""),
        ("https://orchestrator.example.com/identity", ""),
    ],
)
def test_only_an_organisation_s_base_has_a_host_level_one_beside_it(address: str, path: str) -> None:
    assert complete_url(address).host_level_path == path


# --- the file


BAD_FILES = [
    (b"", "is empty"),
    (b" \r\n", "is empty"),
    (b"x" * 70_000, "is larger than 64 KiB"),
    (b"\xff\xfe\x00", "is not text"),
    (b"hush-hush", "is not a JWT"),
    (b'{"value": "eyJhIjoxfQ.eyJhIjoxfQ.eyJh"}', "is not a JWT"),
    (b"eyJhIjoxfQ.eyJhIjoxfQ.", "is not a JWT"),
    (b"eyJhIjoxfQ.hushhush.c2ln", "is not a JWT"),
    (b"eyJhIjoxfQ.eyJhIjoxfQ.c2ln eyJhIjoxfQ.eyJhIjoxfQ.c2ln", "is not a JWT"),
]


@pytest.mark.parametrize(("content", "problem"), BAD_FILES)
async def test_a_file_that_holds_no_assertion_is_refused_before_anything_is_sent(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    login = Login(tmp_path, Endpoints())
    login.file.write_bytes(content)
    for _ in range(2):
        error = await login.refusal()
        assert isinstance(error, UsageError)
        assert f"BULKID_CLIENT_ASSERTION_FILE: the file {login.file} {problem}" in error.message
        assert error.hint
        assert "hush" not in str(error)
    assert login.endpoints.asked == []


def test_a_file_of_windows_powershell_is_read(tmp_path: Path) -> None:
    text = assertion(expires_at=NOW + 1)
    (tmp_path / "token").write_bytes(f"{text}\r\n".encode("utf-16"))
    assert read_client_assertion(tmp_path / "token", NOW).value == text


@pytest.mark.parametrize("value", ["eyJhIjoxfQ.eyJhIjoxfQ.c2ln", "eyJhIjoxfQ" * 500, "hush\x00hush"])
def test_an_assertion_in_place_of_its_path_is_not_repeated(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_client_assertion(Path(value), NOW)
    assert "the file that it names does not exist" in caught.value.message
    assert value[:10] not in str(caught.value)


def test_a_folder_and_a_pipe_are_refused_and_not_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        read_client_assertion(tmp_path, NOW)
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(UsageError, match="is a named pipe"):
            read_client_assertion(tmp_path / "pipe", NOW)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = assertion_file(tmp_path / "token")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageError, match=r"cannot be read \(Permission denied\)"):
        read_client_assertion(file, NOW)


@pytest.mark.parametrize("end", [NOW, NOW - 1, 0, -5])
async def test_an_expired_assertion_is_not_sent(tmp_path: Path, end: float) -> None:
    login = Login(tmp_path, Endpoints())
    assertion_file(login.file, expires_at=end)
    error = await login.refusal()
    assert isinstance(error, AuthenticationError)
    assert "has expired" in error.message
    assert ("1970-01-12T13:46:40Z" in error.message) is (end == NOW)
    assert login.endpoints.asked == []


def test_an_assertion_without_an_end_is_sent(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("eyJhIjoxfQ.eyJhIjoxfQ.c2ln")
    assert read_client_assertion(tmp_path / "token", NOW).expires_at is None


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_=-]{0,12}(\.[A-Za-z0-9_=-]{0,12}){0,4}", fullmatch=True))
def test_any_text_is_a_jwt_or_is_not(text: str) -> None:
    if is_jwt(text):
        assert text.count(".") == 2


# --- later, while a run is under way


async def test_a_file_in_trouble_leaves_the_present_token_in_use_and_is_read_again(tmp_path: Path) -> None:
    login = Login(tmp_path, Endpoints())
    await login.token()
    login.file.write_bytes(b"")  # just being replaced
    login.clock.time += 3550
    assert await login.token() == "token-1"
    login.clock.time += 60
    waiting = await login.tokens.current()
    assert isinstance(waiting, Reply)
    assert (waiting.kind, "is empty" in waiting.error) == (ReplyKind.NO_CONNECTION, True)
    assertion_file(login.file, expires_at=NOW + 9000)
    assert await login.token() == "token-2"
    assert login.tokens.fetches == 2


async def test_an_assertion_that_nothing_replaces_is_named_as_the_reason(tmp_path: Path) -> None:
    login = Login(tmp_path, Endpoints())
    await login.token()
    login.clock.time += 3700
    waiting = await login.tokens.current()
    assert isinstance(waiting, Reply)
    assert "has expired at 1970-01-12T13:56:40Z" in waiting.error


# --- it is a secret


async def test_an_assertion_is_shown_nowhere(tmp_path: Path) -> None:
    login = Login(tmp_path, Endpoints())
    value = login.file.read_text().strip()
    await login.token()
    assert value in login.tokens.secrets()
    assert redact_text(f"say {value} twice") == "say [redacted] twice"
    assert value not in redact_text(login.endpoints.forms[0]["client_assertion"])
    assert value not in repr(read_client_assertion(login.file, NOW))
    signature = value.rpartition(".")[2]
    assert signature not in redact_text(f"client_assertion={value}&scope=PM")
