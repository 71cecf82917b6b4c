"""Tokens are fetched once for all requests, before they expire; a final refusal ends the run."""

from collections.abc import Callable
from urllib.parse import parse_qs

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import AuthenticationError, ConnectionFailedError, UsageError
from bulkid.identity.tokens import ClientCredentials, StaticToken, Token
from bulkid.model import Reply, ReplyKind
from bulkid.redaction import redact_text
from bulkid.resources import ROBOT_ACCOUNTS
from tests.support.identity_wire import HandClock, jwt


def granted(token: str = "token", **fields: object) -> Reply:
    return Reply(ReplyKind.OK, 200, {"access_token": token, "token_type": "Bearer", **fields})


class Endpoint:
    """A token endpoint that answers what it is told to, and counts."""

    def __init__(self, *replies: Reply | Callable[[int], Reply]) -> None:
        self.replies = list(replies)
        self.forms: list[dict[str, list[str]]] = []

    async def __call__(self, path: str, form: bytes) -> Reply:
        assert path == "connect/token"
        self.forms.append(parse_qs(form.decode(), keep_blank_values=True))
        await anyio.lowlevel.checkpoint()
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply if isinstance(reply, Reply) else reply(len(self.forms))


def numbered(count: int) -> Reply:
    return granted(f"token-{count}", expires_in=3600)


def source(endpoint: Endpoint, clock: HandClock | None = None, scope: str = "PM.RobotAccount") -> ClientCredentials:
    tokens = ClientCredentials("app", "s+cret &=", scope, clock or HandClock())
    tokens.connect(endpoint)
    return tokens


async def _token(tokens: ClientCredentials) -> Token:
    token = await tokens.current()
    assert isinstance(token, Token)
    return token


async def test_the_form_is_that_of_client_credentials() -> None:
    endpoint = Endpoint(numbered)
    await source(endpoint, scope=" PM.RobotAccount\nPM.Group ").current()
    assert endpoint.forms == [
        {
            "grant_type": ["client_credentials"],
            "client_id": ["app"],
            "client_secret": ["s+cret &="],
            "scope": ["PM.RobotAccount PM.Group"],
        }
    ]


@pytest.mark.parametrize(
    ("lifetime", "still_used_at", "renewed_at"),
    [(3600, 3539.9, 3540.1), ("3600", 3539.9, 3540.1), (100, 89.9, 90.1), (2, 1.79, 1.81)],
)
async def test_a_token_is_fetched_anew_shortly_before_its_end(
    lifetime: object, still_used_at: float, renewed_at: float
) -> None:
    clock, endpoint = HandClock(), Endpoint(lambda count: granted(f"token-{count}", expires_in=lifetime))
    tokens, begun = source(endpoint, clock), clock.time
    assert await tokens.current() == Token("token-1", 1)
    clock.time = begun + still_used_at
    assert await tokens.current() == Token("token-1", 1)
    clock.time = begun + renewed_at
    assert await tokens.current() == Token("token-2", 2)


@pytest.mark.parametrize("expires_in", [None, "soon", 0, -1, "nan", "inf", [], {}])
async def test_without_a_usable_lifetime_a_token_is_used_until_it_is_refused(expires_in: object) -> None:
    clock, endpoint = HandClock(), Endpoint(lambda count: granted(f"token-{count}", expires_in=expires_in))
    tokens = source(endpoint, clock)
    first = await _token(tokens)
    clock.time += 1e6
    assert await tokens.current() == first
    tokens.accepted(first.generation)
    tokens.refused(first.generation, "expired")
    assert await tokens.current() == Token("token-2", 2)


async def test_a_missing_lifetime_is_read_from_the_token_by_the_issuers_own_clock() -> None:
    clock, endpoint = HandClock(), Endpoint(lambda count: granted(jwt({"nbf": 50, "exp": 650, "jti": count})))
    tokens = source(endpoint, clock)
    first = await _token(tokens)
    clock.time += 541
    assert (await _token(tokens)).generation == first.generation + 1


async def test_fifty_who_ask_at_once_cause_one_fetch() -> None:
    endpoint = Endpoint(numbered)
    tokens = source(endpoint)
    got: list[Token | Reply] = []

    async def ask() -> None:
        got.append(await tokens.current())

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask)
    assert got == [Token("token-1", 1)] * 50
    assert tokens.fetches == len(endpoint.forms) == 1


async def test_fifty_who_ask_at_once_share_a_failure_too_and_the_next_tries_again() -> None:
    endpoint = Endpoint(Reply(ReplyKind.LOST, error_code="timeout", error="No answer."), numbered)
    tokens = source(endpoint)
    got: list[Token | Reply] = []

    async def ask() -> None:
        got.append(await tokens.current())

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask)
    assert {reply.kind for reply in got if isinstance(reply, Reply)} == {ReplyKind.NO_CONNECTION}
    assert (len(got), len(endpoint.forms)) == (50, 1)
    assert await tokens.current() == Token("token-2", 1)


async def test_who_waits_for_a_fetch_that_is_cancelled_fetches_in_its_place() -> None:
    endpoint = Endpoint(Reply(ReplyKind.LOST, error="An earlier failure, which is over."), numbered)
    tokens = source(endpoint)
    got: list[Token | Reply] = []
    assert isinstance(await tokens.current(), Reply)

    async def ask() -> None:
        got.append(await tokens.current())

    async with anyio.create_task_group() as group:
        first = anyio.CancelScope()

        async def ask_and_be_cancelled() -> None:
            with first:
                await ask()

        group.start_soon(ask_and_be_cancelled)
        group.start_soon(ask)
        while len(endpoint.forms) < 2:
            await anyio.lowlevel.checkpoint()
        first.cancel()
    assert got == [Token("token-3", 1)]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(ReplyKind.THROTTLED, 429, retry_after=7.0, error="slow"), ReplyKind.THROTTLED),
        (Reply(ReplyKind.UNAVAILABLE, 503, retry_after=7.0, error="down"), ReplyKind.NO_CONNECTION),
        (Reply(ReplyKind.SERVER_ERROR, 500, retry_after=7.0, error="oops"), ReplyKind.NO_CONNECTION),
        (Reply(ReplyKind.LOST, retry_after=7.0, error="lost"), ReplyKind.NO_CONNECTION),
        (Reply(ReplyKind.NO_CONNECTION, retry_after=7.0, error="dns"), ReplyKind.NO_CONNECTION),
        (Reply(ReplyKind.NOT_JSON, 200, retry_after=7.0, error="page"), ReplyKind.NO_CONNECTION),
    ],
)
async def test_passing_trouble_is_handed_on_as_a_kind_that_says_nothing_was_applied(
    reply: Reply, kind: ReplyKind
) -> None:
    told = await source(Endpoint(reply)).current()
    assert isinstance(told, Reply)
    assert (told.kind, told.status, told.retry_after, told.was_sent) == (kind, reply.status, 7.0, False)
    prefix = "" if reply.kind is ReplyKind.NO_CONNECTION else "No access token at present: "
    assert told.error == f"{prefix}{reply.error}"


async def test_a_token_that_still_lives_is_used_while_the_endpoint_is_in_trouble() -> None:
    clock, endpoint = HandClock(), Endpoint(numbered, Reply(ReplyKind.UNAVAILABLE, 503, error="down"))
    tokens, begun = source(endpoint, clock), clock.time
    await tokens.current()
    clock.time = begun + 3550
    assert await tokens.current() == Token("token-1", 1)
    assert len(endpoint.forms) == 2
    clock.time = begun + 3560  # less than half of what was left: nobody asks again yet
    assert await tokens.current() == Token("token-1", 1)
    assert len(endpoint.forms) == 2
    clock.time = begun + 3601
    assert isinstance(await tokens.current(), Reply)


@pytest.mark.parametrize(
    ("code", "setting"),
    [
        ("invalid_client", "BULKID_CLIENT_SECRET"),
        ("invalid_scope", "BULKID_SCOPE"),
        ("unauthorized_client", "BULKID_CLIENT_ID"),
        ("bad_request", "BULKID_CLIENT_ID"),
        ("1100", "BULKID_URL"),
    ],
)
@pytest.mark.parametrize("kind", [ReplyKind.REFUSED, ReplyKind.UNAUTHORIZED, ReplyKind.FORBIDDEN])
async def test_refused_credentials_end_the_run_and_name_the_setting(code: str, setting: str, kind: ReplyKind) -> None:
    endpoint = Endpoint(Reply(kind, 400, error_code=code, error="Server's words."))
    tokens = source(endpoint)
    for _ in range(2):
        with pytest.raises(AuthenticationError) as refused:
            await tokens.current()
        assert "Server's words." in refused.value.message
        assert code in refused.value.message
        assert ("the credentials" in refused.value.message) is not ("BULKID_URL: newer" in refused.value.hint)
        assert setting in refused.value.hint
        assert "s+cret" not in str(refused.value)
    assert len(endpoint.forms) == 1  # a wrong secret is not sent again and again


@pytest.mark.parametrize(("host_base", "advised"), [("", True), ("/identity_", False)])
async def test_an_organisation_is_advised_only_where_the_address_has_none(host_base: str, advised: bool) -> None:
    endpoint = Endpoint(Reply(ReplyKind.REFUSED, 400, error_code="1100", error="Server's words."))
    tokens = source(endpoint)
    tokens.connect(endpoint, host_base)
    with pytest.raises(AuthenticationError, match="BULKID_URL") as refused:
        await tokens.current()
    assert ("newer servers want the organisation" in refused.value.hint) is advised


INVALID_SCOPE = Reply(ReplyKind.REFUSED, 400, error_code="invalid_scope", error="Not granted.")


def asked_for(endpoint: Endpoint) -> list[str]:
    return [form["scope"][0] for form in endpoint.forms]


@pytest.mark.parametrize("refusals", [0, 1, 2])
async def test_without_a_scope_the_widest_is_asked_for_first_and_what_was_granted_is_asked_for_again(
    refusals: int,
) -> None:
    clock, endpoint = HandClock(), Endpoint(*[INVALID_SCOPE] * refusals, numbered)
    tokens = source(endpoint, clock, scope=" ")
    first = await _token(tokens)
    assert asked_for(endpoint) == list(ROBOT_ACCOUNTS.requested_scopes[: refusals + 1])
    assert (first.generation, tokens.fetches) == (1, refusals + 1)
    clock.time += 3600
    await _token(tokens)
    assert asked_for(endpoint)[refusals + 1 :] == [ROBOT_ACCOUNTS.requested_scopes[refusals]]


async def test_an_application_that_has_none_of_the_scopes_is_told_so_after_one_question_each() -> None:
    endpoint = Endpoint(INVALID_SCOPE)
    tokens = source(endpoint, scope="")
    for _ in range(2):
        with pytest.raises(AuthenticationError, match="invalid_scope, Not granted") as refused:
            await tokens.current()
        assert "BULKID_SCOPE" in refused.value.hint
    assert asked_for(endpoint) == list(ROBOT_ACCOUNTS.requested_scopes)


async def test_a_scope_that_somebody_set_is_never_replaced_by_another() -> None:
    endpoint = Endpoint(INVALID_SCOPE)
    for scope in (ROBOT_ACCOUNTS.requested_scopes[0], "OR.Robots"):
        with pytest.raises(AuthenticationError, match="invalid_scope"):
            await source(endpoint, scope=scope).current()
    assert asked_for(endpoint) == [ROBOT_ACCOUNTS.requested_scopes[0], "OR.Robots"]


@pytest.mark.parametrize("code", ["invalid_client", "bad_request", "invalid_scopes", ""])
async def test_only_the_error_code_for_scopes_leads_to_a_narrower_question(code: str) -> None:
    words = Reply(ReplyKind.REFUSED, 400, error_code=code, error="invalid_scope")
    endpoint = Endpoint(words)
    with pytest.raises(AuthenticationError):
        await source(endpoint, scope="").current()
    assert len(endpoint.forms) == 1


async def test_trouble_that_passes_leads_to_the_same_question_again() -> None:
    down = Reply(ReplyKind.UNAVAILABLE, 503, error_code="invalid_scope", error="down")
    endpoint = Endpoint(down, INVALID_SCOPE, down, numbered)
    tokens = source(endpoint, scope="")
    assert isinstance(await tokens.current(), Reply)
    assert isinstance(await tokens.current(), Reply)
    assert isinstance(await tokens.current(), Token)
    assert asked_for(endpoint) == [
        ROBOT_ACCOUNTS.requested_scopes[0],
        ROBOT_ACCOUNTS.requested_scopes[0],
        ROBOT_ACCOUNTS.requested_scopes[1],
        ROBOT_ACCOUNTS.requested_scopes[1],
    ]


async def test_fifty_who_ask_at_once_share_the_narrower_token() -> None:
    endpoint = Endpoint(INVALID_SCOPE, numbered)
    tokens = source(endpoint, scope="")
    got: list[Token | Reply] = []

    async def ask() -> None:
        got.append(await tokens.current())

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask)
    assert got == [Token("token-2", 1)] * 50
    assert len(endpoint.forms) == 2


async def test_no_token_endpoint_means_a_wrong_url() -> None:
    tokens = source(Endpoint(Reply(ReplyKind.REFUSED, 404, error_code="not_found", error="404 Not Found")))
    for _ in range(2):
        with pytest.raises(ConnectionFailedError) as refused:
            await tokens.current()
        assert not isinstance(refused.value, AuthenticationError)
        assert "BULKID_URL" in refused.value.hint


@pytest.mark.parametrize(
    "payload", [None, [], {}, {"access_token": None}, {"access_token": ""}, {"access_token": "a b"}]
)
async def test_an_answer_without_a_token_ends_the_run(payload: object) -> None:
    with pytest.raises(AuthenticationError, match="without an access token"):
        await source(Endpoint(Reply(ReplyKind.OK, 200, payload))).current()


async def _refuse_fresh(tokens: ClientCredentials, times: int) -> None:
    for _ in range(times):
        tokens.refused((await _token(tokens)).generation, "no good")


async def test_two_fresh_tokens_refused_in_a_row_end_a_run_that_has_never_had_a_good_one() -> None:
    tokens = source(Endpoint(numbered))
    await _refuse_fresh(tokens, 1)
    with pytest.raises(AuthenticationError, match="no good"):
        await _refuse_fresh(tokens, 1)
    with pytest.raises(AuthenticationError):
        await tokens.current()
    assert tokens.fetches == 2


async def test_five_fresh_tokens_refused_in_a_row_end_a_run_that_has_had_a_good_one() -> None:
    tokens = source(Endpoint(numbered))
    tokens.accepted((await _token(tokens)).generation)
    await _refuse_fresh(tokens, 1)  # the good one: it has expired
    await _refuse_fresh(tokens, 4)
    with pytest.raises(AuthenticationError):
        await _refuse_fresh(tokens, 1)


async def test_an_accepted_token_in_between_begins_the_count_anew() -> None:
    tokens = source(Endpoint(numbered))
    tokens.accepted((await _token(tokens)).generation)
    for _ in range(10):
        await _refuse_fresh(tokens, 4)
        tokens.accepted((await _token(tokens)).generation)


async def test_sixteen_refusals_of_one_token_are_one_refusal_and_late_ones_spare_the_next() -> None:
    tokens = source(Endpoint(numbered))
    first = await _token(tokens)
    for _ in range(16):
        tokens.refused(first.generation, "expired")
    second = await _token(tokens)
    tokens.refused(first.generation, "expired")
    assert await tokens.current() == second
    assert tokens.fetches == 2


@given(st.lists(st.sampled_from(["accept", "refuse", "late"]), max_size=40))
def test_the_run_ends_exactly_when_the_rule_of_generations_says_so(events: list[str]) -> None:
    async def follow() -> None:
        tokens, in_a_row, ever = source(Endpoint(numbered)), 0, False
        fresh = True
        for event in events:
            token = await _token(tokens)
            if event == "accept":
                tokens.accepted(token.generation)
                in_a_row, ever, fresh = 0, True, False
            elif event == "late":
                tokens.refused(token.generation - 1, "late")
            else:
                in_a_row += fresh
                if fresh and in_a_row >= (5 if ever else 2):
                    with pytest.raises(AuthenticationError):
                        tokens.refused(token.generation, "no")
                    return
                tokens.refused(token.generation, "no")
                fresh = True

    anyio.run(follow)


async def test_a_given_token_is_cleaned_of_what_pasting_adds() -> None:
    assert await StaticToken("  Bearer abc.def\n").current() == Token("abc.def", 1)


@pytest.mark.parametrize("value", ["", "  ", "Bearer ", "a b", "a\nb", "tokén", "a\x00b"])
def test_what_cannot_be_a_token_is_refused_before_it_is_sent_and_not_echoed(value: str) -> None:
    with pytest.raises(UsageError, match="BULKID_ACCESS_TOKEN") as refused:
        StaticToken(value)
    assert not value.strip() or value not in str(refused.value)


@pytest.mark.parametrize(
    ("client_id", "secret", "named"), [("", "x", "BULKID_CLIENT_ID"), ("x", "\n", "BULKID_CLIENT_SECRET")]
)
def test_credentials_that_are_not_whole_are_refused(client_id: str, secret: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        ClientCredentials(client_id, secret)


@pytest.mark.parametrize(
    ("claims", "said"), [({"exp": 1_700_000_000}, "2023-11-14T22:13:20Z"), ({"exp": 1e300}, "401"), ({}, "401")]
)
def test_a_given_token_that_is_refused_ends_the_run_at_once(claims: dict[str, float], said: str) -> None:
    token = jwt(claims)
    with pytest.raises(AuthenticationError, match="BULKID_ACCESS_TOKEN") as refused:
        StaticToken(token).refused(1, "invalid_token")
    assert said in str(refused.value)
    assert token not in str(refused.value)


async def test_no_secret_shows_when_a_source_or_a_token_is_printed() -> None:
    tokens = source(Endpoint(granted("hunter2")))
    for thing in (tokens, await tokens.current(), StaticToken("hunter2")):
        assert "hunter2" not in repr(thing)
        assert "s+cret" not in repr(thing)


async def test_a_fetched_token_is_known_to_the_logs_as_a_secret() -> None:
    await source(Endpoint(granted("opaque-reference-token"))).current()
    assert "opaque-reference" not in redact_text("seen: opaque-reference-token")


async def test_what_must_be_kept_out_of_words_is_the_secret_and_the_present_token() -> None:
    tokens = source(Endpoint(numbered))
    assert tokens.secrets() == ("s+cret &=",)
    await tokens.current()
    assert tokens.secrets() == ("s+cret &=", "token-1")
    assert StaticToken("1234").secrets() == ("1234",)
