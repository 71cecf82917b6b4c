"""Groups and the first page of accounts are read concurrently; their errors are judged in one order."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from types import SimpleNamespace
from typing import cast

import anyio
import pytest

from bulkid.engine.engine import Engine
from bulkid.errors import ConnectionFailedError
from bulkid.identity.tokens import Capabilities
from bulkid.model import Reply, ReplyKind, Request
from bulkid.runs.execution.directory_reader import read_directory
from bulkid.runs.inputs.run_input import AccountLookup

LOOKUP = AccountLookup(("a", "b"), (), groups=True, group_texts=frozenset({"g"}))
ACCOUNTS = [{"id": each, "name": f"robot-{each}", "groupIds": ["g"]} for each in "ab"]
OK: Mapping[str, Reply] = {
    "groups": Reply(ReplyKind.OK, 200, [{"id": "g", "name": "Everyone", "type": "builtIn"}]),
    "accounts": Reply(ReplyKind.OK, 200, {"totalCount": 2, "results": ACCOUNTS}),
}
REFUSED = Reply(ReplyKind.REFUSED, 400, error="No such organisation")
FORBIDDEN = Reply(ReplyKind.FORBIDDEN, 403, error="A scope is missing")


class FakeEngine:
    """Answers with what a test says; the test may let one request wait for another."""

    def __init__(self, replies: Mapping[str, Reply]) -> None:
        self.replies = {**OK, **replies}
        self.asked: list[str] = []
        self.waits: Callable[[str], anyio.Event | None] = lambda _: None

    async def call(self, request: Request) -> SimpleNamespace:
        what = "groups" if request.path.startswith("api/Group") else "accounts"
        self.asked.append(what)
        if (event := self.waits(what)) is not None:
            await event.wait()
        return SimpleNamespace(reply=deepcopy(self.replies[what]))  # a list of groups is empty once it was read

    async def read(self, lookup: AccountLookup = LOOKUP, known: Capabilities | None = None) -> tuple[int | None, int]:
        directory, warnings = await read_directory(cast("Engine", self), "o", lookup, known or Capabilities())
        return None if directory.accounts is None else len(directory.accounts), len(warnings)


@pytest.mark.parametrize("later", ["groups", "accounts"])
async def test_neither_waits_for_the_other_to_be_answered(later: str) -> None:
    engine, both = FakeEngine({}), anyio.Event()

    def waits(what: str) -> anyio.Event | None:
        if set(engine.asked) == {"groups", "accounts"}:
            both.set()
        return both if what == later else None

    engine.waits = waits
    with anyio.fail_after(30):
        assert await engine.read() == (2, 0)
    assert sorted(engine.asked) == ["accounts", "groups"]


@pytest.mark.parametrize("accounts", [OK["accounts"], FORBIDDEN, REFUSED])
async def test_an_error_of_the_groups_is_the_one_that_is_reported(accounts: Reply) -> None:
    with pytest.raises(ConnectionFailedError) as failed:
        await FakeEngine({"groups": REFUSED, "accounts": accounts}).read()
    assert "list of groups" in failed.value.message


async def test_an_empty_list_of_groups_is_no_list_of_all_groups() -> None:
    """Every account is in Everyone: an exact list would leave accounts in groups that the list does not name."""
    with pytest.raises(ConnectionFailedError) as failed:
        await FakeEngine({"groups": Reply(ReplyKind.OK, 200, [])}).read()
    assert "empty list of groups" in failed.value.message


async def test_an_error_of_the_accounts_is_reported_without_asking_again() -> None:
    engine = FakeEngine({"accounts": REFUSED})
    with pytest.raises(ConnectionFailedError) as failed:
        await engine.read()
    assert "list of robot accounts" in failed.value.message
    assert sorted(engine.asked) == ["accounts", "groups"]


async def test_what_the_token_may_not_read_is_asked_for_once_and_named() -> None:
    accounts_forbidden, groups_forbidden = FakeEngine({"accounts": FORBIDDEN}), FakeEngine({"groups": FORBIDDEN})
    assert await accounts_forbidden.read() == (None, 1)
    assert await groups_forbidden.read() == (2, 1)
    assert sorted(accounts_forbidden.asked) == sorted(groups_forbidden.asked) == ["accounts", "groups"]


async def test_what_the_token_says_that_it_may_not_read_is_not_asked_for() -> None:
    engine = FakeEngine({})
    assert await engine.read(known=Capabilities(read_accounts=False)) == (None, 1)
    assert engine.asked == ["groups"]


async def test_for_one_id_no_page_is_read_and_without_groups_none_are_asked_for() -> None:
    one, none = FakeEngine({"accounts": Reply(ReplyKind.OK, 200, ACCOUNTS[0])}), FakeEngine({})
    assert await one.read(AccountLookup(("a",), (), groups=True)) == (1, 0)
    assert one.asked == ["groups", "accounts"]
    assert await none.read(AccountLookup(("a", "b"), (), groups=False)) == (2, 0)
    assert none.asked == ["accounts"]
