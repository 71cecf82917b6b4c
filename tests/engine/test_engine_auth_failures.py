"""Whether a 401 or a 403 is due to the one request or to the credential."""

import random
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import parse_qs

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.engine.auth_failures import (
    FORBIDDEN_AT_FIRST,
    FORBIDDEN_IN_A_ROW,
    REFUSED_IN_A_ROW,
    ForbiddenWrites,
    OnForbidden,
    SuspectCredential,
)
from bulkid.engine.auth_judge import AuthOptions
from bulkid.engine.engine import Engine
from bulkid.engine.retry import RetryPolicy
from bulkid.engine.signals import Stop
from bulkid.engine.task import Settled, Task
from bulkid.errors import AuthenticationError, PermissionDeniedError
from bulkid.identity.tokens import ClientCredentials, StaticToken, Token, TokenSource
from bulkid.model import QuotaRule, Reply, ReplyKind, Request
from tests.support.engine_world import chunks, get, make_engine, put, puts
from tests.support.examples import examples
from tests.support.fake_clock import FakeClock, run

CHECK = Request("GET", "api/RobotAccount/org?top=1")
UNAUTHORIZED = Reply(ReplyKind.UNAUTHORIZED, 401, error="no good")


class Server:
    """Issues tokens, takes those that are good, and refuses some requests whatever they carry.

    Args:
        clock: Its time.
        refused: Paths that are answered 401.
        forbidden: Paths that are answered 403.
        source: Where tokens come from; None: client credentials.
        seed: Of its latencies.
    """

    def __init__(
        self,
        clock: FakeClock,
        refused: Collection[str] = (),
        forbidden: Collection[str] = (),
        *,
        source: TokenSource | None = None,
        seed: int = 1,
    ) -> None:
        self.clock = clock
        self.refused_paths = refused
        self.forbidden_paths = forbidden
        self.good: Callable[[str], bool] = lambda _: True
        self.revoked: set[str] = set()
        self.issued = 0
        self.sent: Counter[str] = Counter()
        self.checked_at: list[float] = []
        self.at_work: Callable[[Request], None] = lambda _: None
        self._random = random.Random(seed)
        self.tokens: TokenSource = source or ClientCredentials("app", "secret", "PM.RobotAccount", clock)
        self.tokens.connect(self._issue)

    async def _issue(self, path: str, form: bytes) -> Reply:
        assert path == "connect/token"
        assert parse_qs(form.decode())["client_id"] == ["app"]
        await self.clock.sleep(0.125)
        self.issued += 1
        return Reply(ReplyKind.OK, 200, {"access_token": f"t{self.issued}"})

    async def send(self, request: Request) -> Reply:
        token = await self.tokens.current()
        assert isinstance(token, Token)
        await self.clock.sleep(self._random.randint(0, 64) / 1024)
        self.sent[request.path] += 1
        self.at_work(request)
        reply = self._judge(request, token)
        await self.clock.sleep(self._random.randint(0, 64) / 1024)
        if reply.kind in (ReplyKind.OK, ReplyKind.FORBIDDEN):
            self.tokens.accepted(token.generation)
        return reply._replace(credential=token.generation)

    def _judge(self, request: Request, token: Token) -> Reply:
        if token.value in self.revoked or not self.good(token.value) or request.path in self.refused_paths:
            return UNAUTHORIZED
        if request.path in self.forbidden_paths:
            return Reply(ReplyKind.FORBIDDEN, 403, error="not yours")
        return Reply(ReplyKind.OK, 200, {})

    def refused(self, credential: int, words: str) -> None:
        self.tokens.refused(credential, words)

    def engine(self, **given: Any) -> Engine:
        return make_engine(self.clock, self.send, **({"auth": AuthOptions(self, CHECK)} | given))


async def settle(engine: Engine, count: int) -> dict[int, Settled]:
    settled: list[Settled] = []
    await engine.run(chunks(puts(count)), settled.append, Stop())
    assert len(settled) == len({one.key for one in settled}) == count
    return {one.key: one for one in settled}


def paths(*numbers: int) -> set[str]:
    return {put(number).path for number in numbers}


def failed(settled: dict[int, Settled]) -> dict[int, ReplyKind]:
    return {key: one.reply.kind for key, one in settled.items() if one.reply.kind is not ReplyKind.OK}


@pytest.mark.parametrize("concurrency", [1, 2, 16])
@pytest.mark.parametrize("where", [0, 1, 17, 150, 298, 299])
@pytest.mark.parametrize("read_first", [True, False])
async def test_one_account_that_is_always_refused_fails_alone_and_costs_no_token(
    where: int, concurrency: int, *, read_first: bool
) -> None:
    server = Server(FakeClock(), paths(where))
    engine = server.engine(concurrency=concurrency)
    if read_first:
        await engine.call(get(0))
    settled = await settle(engine, 300)
    assert failed(settled) == {where: ReplyKind.UNAUTHORIZED}
    assert settled[where].attempts == server.sent[put(where).path] == 2
    assert server.issued == 1
    assert server.sent.total() <= 300 + 1 + read_first + 2  # one more PUT, and a check for each refusal at most


async def test_the_only_account_of_a_run_can_fail_too() -> None:
    server = Server(FakeClock(), paths(0))
    assert failed(await settle(server.engine(), 1)) == {0: ReplyKind.UNAUTHORIZED}
    assert (server.issued, server.sent[CHECK.path]) == (1, 2)


async def test_a_read_that_is_refused_alone_is_an_answer() -> None:
    server = Server(FakeClock(), {get(7).path})
    engine = server.engine()
    await engine.call(get(0))
    assert (await engine.call(get(7))).reply.kind is ReplyKind.UNAUTHORIZED
    assert (await engine.call(get(8))).reply.kind is ReplyKind.OK
    assert server.issued == 1


@pytest.mark.parametrize("concurrency", [1, 16])
async def test_a_token_that_was_revoked_is_replaced_once_for_all(concurrency: int) -> None:
    server = Server(FakeClock())

    def revoke(request: Request) -> None:
        if request == put(100) and not server.revoked:
            server.revoked.add("t1")

    server.at_work = revoke
    assert not failed(await settle(server.engine(concurrency=concurrency), 300))
    assert server.issued == 2
    assert server.sent[CHECK.path] == 1
    assert server.sent.total() - 1 - 300 <= 2 * concurrency


@pytest.mark.parametrize(
    ("request_", "checks"),
    [(Request("GET", "api/Group/org"), 0), (CHECK, 0), (Request("GET", "api/RobotAccount/org/one"), 2)],
)
async def test_wrong_credentials_end_a_run_at_once(request_: Request, checks: int) -> None:
    """Only of a single account the check request shows more than the request itself."""
    server = Server(FakeClock())
    server.good = lambda _: False
    with pytest.raises(AuthenticationError, match="no good"):
        await server.engine().call(request_)
    assert (server.issued, server.sent.total()) == (2, 2 + checks)


async def test_the_first_request_of_all_is_refused_alone_where_the_check_request_passes() -> None:
    one = Request("GET", "api/RobotAccount/org/one")
    server = Server(FakeClock(), refused={one.path})
    settled = await server.engine().call(one)
    assert (settled.reply.kind, server.issued) == (ReplyKind.UNAUTHORIZED, 1)


async def test_wrong_credentials_end_a_blind_run_at_once_and_call_no_account_failed() -> None:
    server = Server(FakeClock())
    server.good = lambda _: False
    settled: list[Settled] = []
    with pytest.raises(AuthenticationError, match="no good"):
        await server.engine().run(chunks(puts(300)), settled.append, Stop())
    assert not settled
    assert server.issued == 2
    assert server.sent.total() <= 2 * 16 + 2


@pytest.mark.parametrize("concurrency", [1, 16])
async def test_credentials_that_are_withdrawn_end_a_run_and_call_no_account_failed(concurrency: int) -> None:
    server = Server(FakeClock())

    def withdraw(request: Request) -> None:
        if request == put(100):
            server.good = lambda _: False

    server.at_work = withdraw
    settled: list[Settled] = []
    with pytest.raises(AuthenticationError, match="5 in a row"):
        await server.engine(concurrency=concurrency).run(chunks(puts(300)), settled.append, Stop())
    assert {one.reply.kind for one in settled} == {ReplyKind.OK}
    assert server.issued == 1 + 5
    assert server.sent.total() - len(settled) <= 7 * (concurrency + 1)


@pytest.mark.parametrize("concurrency", [1, 16])
async def test_a_given_token_outlives_a_refusal_of_one_request_and_ends_the_run_once_it_is_revoked(
    concurrency: int,
) -> None:
    server = Server(FakeClock(), paths(50), source=StaticToken("given"))

    def revoke(request: Request) -> None:
        if request == put(200):
            server.revoked.add("given")

    server.at_work = revoke
    settled: list[Settled] = []
    with pytest.raises(AuthenticationError, match="access token"):
        await server.engine(concurrency=concurrency).run(chunks(puts(300)), settled.append, Stop())
    assert {one.key for one in settled if one.reply.kind is ReplyKind.UNAUTHORIZED} == {50}
    assert len(settled) > 150


async def test_a_quota_that_is_used_up_leaves_no_refusal_undecided() -> None:
    server = Server(FakeClock(), paths(9))
    engine = server.engine(rules=[QuotaRule("PUT", 5, 300.0), QuotaRule("GET", 5, 300.0)], concurrency=4)
    assert failed(await settle(engine, 11)) == {9: ReplyKind.UNAUTHORIZED}
    assert server.issued == 1


@settings(max_examples=examples(40, soak=1000), deadline=None)
@given(
    count=st.integers(1, 60),
    refused=st.sets(st.integers(0, 59), max_size=20),
    # Neither of the first request nor of five in a row: then no token is ever taken, and that ends a run.
    revocations=st.lists(st.integers(2, 120), max_size=4),
    concurrency=st.integers(1, 8),
    seed=st.integers(0, 2**16),
)
def test_whatever_is_refused_and_revoked_each_request_gets_its_own_true_outcome(
    count: int, refused: set[int], revocations: list[int], concurrency: int, seed: int
) -> None:
    server = Server(FakeClock(), paths(*refused), seed=seed)
    served = 0

    def revoke(_: Request) -> None:
        nonlocal served
        served += 1
        if served in revocations:
            server.revoked |= {f"t{number}" for number in range(server.issued + 1)}

    server.at_work = revoke

    async def play() -> dict[int, Settled]:
        engine = server.engine(concurrency=concurrency)
        await engine.call(get(0))
        return await settle(engine, count)

    settled = run(play)
    wanted = {key: ReplyKind.UNAUTHORIZED for key in refused if key < count}
    assert failed(settled) == wanted
    assert server.issued <= 1 + len(set(revocations))
    assert all(settled[key].attempts == 2 for key in wanted)


# --- 403


@pytest.mark.parametrize("concurrency", [1, 16])
@pytest.mark.parametrize("where", [0, 1, 150, 299])
async def test_one_account_that_must_not_be_changed_fails_alone(where: int, concurrency: int) -> None:
    server = Server(FakeClock(), forbidden=paths(where))
    settled = await settle(server.engine(concurrency=concurrency), 300)
    assert failed(settled) == {where: ReplyKind.FORBIDDEN}
    assert server.sent[put(where).path] <= 2


async def test_where_every_write_is_forbidden_the_run_ends_and_no_account_is_called_failed() -> None:
    server = Server(FakeClock(), forbidden=paths(*range(300)))
    settled: list[Settled] = []
    with pytest.raises(PermissionDeniedError, match="not yours"):
        await server.engine(concurrency=1).run(chunks(puts(300)), settled.append, Stop())
    assert not settled
    assert server.sent.total() == FORBIDDEN_AT_FIRST


async def test_the_only_account_of_a_run_being_forbidden_is_a_missing_scope_as_far_as_can_be_told() -> None:
    server = Server(FakeClock(), forbidden=paths(0))
    with pytest.raises(PermissionDeniedError):
        await server.engine().run(chunks(puts(1)), lambda _: None, Stop())
    assert server.sent.total() == FORBIDDEN_AT_FIRST


async def test_a_permission_that_is_withdrawn_ends_the_run_after_few_failures() -> None:
    server = Server(FakeClock(), forbidden=paths(*range(100, 300)))
    settled: list[Settled] = []
    with pytest.raises(PermissionDeniedError):
        await server.engine(concurrency=1).run(chunks(puts(300)), settled.append, Stop())
    forbidden = [one for one in settled if one.reply.kind is ReplyKind.FORBIDDEN]
    assert len(forbidden) == FORBIDDEN_IN_A_ROW - 1


@pytest.mark.parametrize("first", [0, 100])
async def test_where_every_write_is_answered_401_and_reads_are_not_the_run_ends_after_fifty_failures(
    first: int,
) -> None:
    server = Server(FakeClock(), refused=paths(*range(first, 300)))
    settled: list[Settled] = []
    with pytest.raises(PermissionDeniedError, match=r"refuses every change, and lets this token read \(401\): no good"):
        await server.engine(concurrency=1).run(chunks(puts(300)), settled.append, Stop())
    refused = [one for one in settled if one.reply.kind is ReplyKind.UNAUTHORIZED]
    assert len(refused) == REFUSED_IN_A_ROW - 1
    assert server.issued == 1


async def test_a_write_that_the_server_takes_begins_the_count_of_refused_writes_anew() -> None:
    refused = [number for number in range(2 * REFUSED_IN_A_ROW) if number != REFUSED_IN_A_ROW - 1]
    server = Server(FakeClock(), refused=paths(*refused[:-1]))
    settled = await settle(server.engine(concurrency=1), 2 * REFUSED_IN_A_ROW)
    assert failed(settled) == dict.fromkeys(refused[:-1], ReplyKind.UNAUTHORIZED)


@pytest.mark.parametrize("concurrency", [4, 16, 128])
async def test_writes_that_get_401_while_others_are_taken_do_not_end_the_run(concurrency: int) -> None:
    refused = range(0, 300, 2)
    server = Server(FakeClock(), refused=paths(*refused))
    settled = await settle(server.engine(concurrency=concurrency), 300)
    assert failed(settled) == dict.fromkeys(refused, ReplyKind.UNAUTHORIZED)
    assert server.issued == 1


async def test_a_write_of_another_kind_shows_nothing_about_this_one() -> None:
    group = Request("PUT", "api/Group/1", b"{}")
    server = Server(FakeClock(), forbidden={group.path})
    engine = server.engine(concurrency=1)
    await settle(engine, 5)
    with pytest.raises(PermissionDeniedError):
        await engine.call(group)


async def test_a_request_that_may_be_forbidden_is_settled_by_it() -> None:
    server = Server(FakeClock(), forbidden=paths(0))
    settled: list[Settled] = []
    await server.engine().run(chunks([Task(0, put(0), None, OnForbidden.ABOUT_THE_REQUEST)]), settled.append, Stop())
    assert [one.reply.kind for one in settled] == [ReplyKind.FORBIDDEN]


async def test_with_a_scope_that_the_token_says_it_has_the_only_account_of_a_run_fails_alone() -> None:
    server = Server(FakeClock(), forbidden=paths(*range(300)))
    settled: list[Settled] = []
    one = Task(0, put(0), None, OnForbidden.SCOPE_GRANTED)
    await server.engine().run(chunks([one]), settled.append, Stop())
    assert [(each.reply.kind, each.attempts) for each in settled] == [(ReplyKind.FORBIDDEN, 1)]
    tasks = [Task(key, put(key), None, OnForbidden.SCOPE_GRANTED) for key in range(300)]
    with pytest.raises(PermissionDeniedError):
        await server.engine(concurrency=1).run(chunks(tasks), settled.append, Stop())
    assert len(settled) == 1 + FORBIDDEN_IN_A_ROW - 1


# --- a check that tells nothing


def with_checks(server: Server, *answers: Reply, settings: dict[str, Any] | None = None) -> Engine:
    """An engine whose check requests get these answers, and the last of them from then on."""

    async def send(request: Request) -> Reply:
        if request != CHECK or server.sent[CHECK.path] >= len(answers) > 1:
            return await server.send(request)
        await server.tokens.current()
        server.sent[CHECK.path] += 1
        server.checked_at.append(server.clock.elapsed)
        assert server.sent[CHECK.path] < 1000, "without end"
        return answers[min(server.sent[CHECK.path], len(answers)) - 1]

    return make_engine(server.clock, send, auth=AuthOptions(server, CHECK), **(settings or {}))


@pytest.mark.parametrize("concurrency", [1, 16])
@pytest.mark.parametrize(
    "answer",
    [
        Reply(ReplyKind.REFUSED, 400, error="top is odd"),
        Reply(ReplyKind.SERVER_ERROR, 500),
        Reply(ReplyKind.NOT_JSON, 200),
        Reply(ReplyKind.LOST),
    ],
    ids=lambda answer: answer.kind.value,
)
async def test_where_no_check_ever_tells_anything_the_run_ends_and_no_account_is_called_failed(
    answer: Reply, concurrency: int
) -> None:
    server = Server(FakeClock(), paths(7))
    engine = with_checks(server, answer, settings={"concurrency": concurrency})
    await engine.call(get(0))
    settled: list[Settled] = []
    with pytest.raises(AuthenticationError, match="no good"):
        await engine.run(chunks(puts(8)), settled.append, Stop())
    assert {one.reply.kind for one in settled} == {ReplyKind.OK}
    assert server.sent[CHECK.path] <= 6 * RetryPolicy().max_attempts


async def test_a_check_without_a_clear_answer_is_sent_again_after_a_wait() -> None:
    clock = FakeClock()
    server = Server(clock, paths(7))
    engine = with_checks(server, Reply(ReplyKind.SERVER_ERROR, 500), Reply(ReplyKind.LOST), settings={"concurrency": 1})
    await engine.call(get(0))
    assert failed(await settle(engine, 8)) == {7: ReplyKind.UNAUTHORIZED}
    assert server.issued == 1
    assert server.sent[CHECK.path] == 4, "twice unclear, then one that tells, for each of two refusals"
    first, second = server.checked_at
    assert second > first


# --- what is evidence


@pytest.mark.parametrize(
    ("number", "reply", "request_refused"),
    [
        (6, Reply(ReplyKind.OK, 200, credential=2), True),
        (6, Reply(ReplyKind.FORBIDDEN, 403, credential=2), True),
        (5, Reply(ReplyKind.OK, 200, credential=2), None),  # it left before the refusal came in
        (6, Reply(ReplyKind.OK, 200, credential=3), False),  # a newer credential shows nothing about this one
        (6, Reply(ReplyKind.UNAUTHORIZED, 401, credential=2), None),
        (6, Reply(ReplyKind.SERVER_ERROR, 500, credential=2), None),
    ],
)
def test_a_refusal_is_judged_by_what_left_after_it_with_the_same_credential(
    number: int, reply: Reply, *, request_refused: bool | None
) -> None:
    suspect = SuspectCredential(2, since=5)
    suspect.observe(number, reply)
    assert suspect.request_refused is request_refused


@pytest.mark.parametrize(("dropped", "request_refused"), [(1, None), (2, False), (3, False)])
def test_with_a_credential_each_one_before_it_is_dropped(dropped: int, *, request_refused: bool | None) -> None:
    suspect = SuspectCredential(2, since=5)
    suspect.drop(dropped)
    assert suspect.request_refused is request_refused


@pytest.mark.parametrize(("credential", "about_this"), [(2, True), (1, False)])
def test_a_write_that_was_taken_with_another_credential_shows_no_scope(credential: int, *, about_this: bool) -> None:
    judged = ForbiddenWrites().judge(put(1), OnForbidden.SCOPE_MAY_BE_MISSING, 2, (put(0), credential))
    assert judged is about_this


async def test_writes_that_are_taken_in_between_keep_a_run_alive_and_reads_do_not() -> None:
    server = Server(FakeClock(), forbidden=paths(*range(0, 60, 2)))
    granted = [Task(key, put(key), None, OnForbidden.SCOPE_GRANTED) for key in range(60)]
    settled: list[Settled] = []
    await server.engine(concurrency=1).run(chunks(granted), settled.append, Stop())
    assert len(settled) == 60
    server = Server(FakeClock(), forbidden=paths(*range(60)))
    mixed = [Task(key, get(key) if key % 2 else put(key), None, OnForbidden.SCOPE_GRANTED) for key in range(60)]
    with pytest.raises(PermissionDeniedError):
        await server.engine(concurrency=1).run(chunks(mixed), lambda _: None, Stop())


@pytest.mark.parametrize("seed", range(8))
async def test_the_first_reads_of_a_run_are_judged_by_each_other(seed: int) -> None:
    server = Server(FakeClock(), {get(0).path}, seed=seed)
    engine = server.engine()
    kinds: dict[int, ReplyKind] = {}

    async def read(key: int) -> None:
        kinds[key] = (await engine.call(get(key))).reply.kind

    async with anyio.create_task_group() as tasks:
        for key in range(4):
            tasks.start_soon(read, key)
    assert kinds == {0: ReplyKind.UNAUTHORIZED, 1: ReplyKind.OK, 2: ReplyKind.OK, 3: ReplyKind.OK}
    assert server.issued == 1


async def test_a_refusal_does_not_wait_for_a_request_that_was_cancelled() -> None:
    clock = FakeClock()
    server = Server(clock, paths(0))

    async def send(request: Request) -> Reply:
        if request == get(1):
            await clock.sleep(10_000)
        return await server.send(request)

    engine = make_engine(clock, send, auth=AuthOptions(server, CHECK))
    await engine.call(get(5))
    async with anyio.create_task_group() as tasks:
        slow = anyio.CancelScope()

        async def read() -> None:
            with slow:
                await engine.call(get(1))

        async def write() -> None:
            assert (await engine.call(put(0))).reply.kind is ReplyKind.UNAUTHORIZED
            assert clock.elapsed < 100

        tasks.start_soon(read)
        tasks.start_soon(write)
        await clock.sleep(5)
        slow.cancel()
