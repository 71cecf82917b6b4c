"""An Identity Server without a socket, for runs that create, change and delete accounts under faults and kills.

It takes the place of the client (`serving`). A run is put into the journal as its plan would be (`journal_run`), and
`go_on` works on it: as a resume does, which compares every account with the server first.
"""

import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import orjson

from bulkid import runs
from bulkid.errors import BulkidError
from bulkid.identity.client import ClientSettings
from bulkid.identity.tokens import TokenClaims
from bulkid.journal.store import Journal, open_journal
from bulkid.model import (
    Account,
    Action,
    DesiredState,
    Outcome,
    Reply,
    ReplyKind,
    Request,
    RunItem,
    RunStatus,
    SheetRow,
    Status,
)
from bulkid.runs.run_records import APPROVED, NEW_GROUPS, dump_options, new_record
from bulkid.sheet import SheetInfo
from tests.support.hurried_clock import Hurried

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
URL = "http://127.0.0.1:9/identity"
EVERYONE = {"id": "g-all", "name": "Everyone", "type": "builtIn"}

LOST = Reply(ReplyKind.LOST, error_code="connection_lost", error="The connection broke.")
BROKEN = Reply(ReplyKind.SERVER_ERROR, 500, error_code="internal", error="An internal error occurred.")
PAGE = Reply(ReplyKind.NOT_JSON, 200, error_code="not_json", error="The server answered with a web page.")
AWAY = Reply(ReplyKind.UNAVAILABLE, 503, error="Down for maintenance.")
BUSY = Reply(ReplyKind.THROTTLED, 429, retry_after=0.01)

FAULTS: Mapping[str, tuple[bool, Reply]] = {
    "lost before": (False, LOST),
    "lost after": (True, LOST),
    "500": (False, BROKEN),
    "500 after": (True, BROKEN),
    "page": (False, PAGE),
    "page after": (True, PAGE),
    "503": (False, AWAY),
    "503 after": (True, AWAY),
    "429": (False, BUSY),
}
"""Faults by name: whether the server carries out the request, and what it answers."""


def refusal(status: int, message: str) -> Reply:
    return Reply(ReplyKind.REFUSED, status, error_code=str(status), error=message)


@dataclass
class LifeServer:
    """Accounts by id and groups by id, and what the server does with requests.

    Args:
        fault: Gives the name of the fault that strikes a request that is no GET; "" for none.
        most_members: More members in one POST of a group are refused with 413; also in a PUT of a group.
        locked: Names of accounts that can be neither changed nor deleted.
        act: Called with each request and "before" the server works on it, and "after": may raise.
    """

    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    fault: Callable[[Request], str] = lambda _request: ""
    most_members: int = 10**6
    locked: set[str] = field(default_factory=set)
    act: Callable[[Request, str], None] = lambda _request, _moment: None
    shows_groups: bool = True  # whether the answer to a creation has its groups
    claims: TokenClaims | None = None
    sent: list[Request] = field(default_factory=list)
    created: list[str] = field(default_factory=list)  # names, each time an account of it was created
    deleted: list[str] = field(default_factory=list)  # names
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def add(self, name: str, display_name: str = "", groups: Sequence[str] = ()) -> str:
        account_id = next(each for number in self._numbers if (each := f"id-{number}") not in self.accounts)
        self.accounts[account_id] = {
            "id": account_id,
            "name": name,
            "displayName": display_name or None,
            "groupIds": list(groups),
        }
        return account_id

    def named(self, name: str) -> dict[str, Any] | None:
        found = [each for each in self.accounts.values() if each["name"].lower() == name.lower()]
        assert len(found) <= 1, f"{name} exists {len(found)} times"
        return found[0] if found else None

    def count(self, method: str, path: str = "") -> int:
        return sum(request.method == method and request.path.startswith(f"api/{path}") for request in self.sent)

    def bodies(self, method: str, path: str = "") -> list[dict[str, Any]]:
        return [
            orjson.loads(request.body or b"{}")
            for request in self.sent
            if request.method == method and request.path.startswith(f"api/{path}")
        ]

    async def answer(self, request: Request) -> Reply:
        await anyio.lowlevel.checkpoint()
        self.act(request, "before")
        self.sent.append(request)
        fault = "" if request.method == "GET" else self.fault(request)
        applies, reply = FAULTS[fault] if fault else (True, None)
        own = self._carry_out(request) if applies else None
        self.act(request, "after")
        if reply is not None and (own is None or own.kind is ReplyKind.OK):
            return reply
        assert own is not None
        return own

    def _carry_out(self, request: Request) -> Reply:
        url = urlsplit(request.path)
        kind, *ids = [unquote(part) for part in url.path.split("/")[1:]]
        body = orjson.loads(request.body) if request.body else {}
        call = getattr(self, f"_{request.method.lower()}_{kind.lower()}")
        reply: Reply = call(ids, body, parse_qs(url.query))
        return reply

    def _get_robotaccount(self, ids: list[str], _body: Any, query: dict[str, list[str]]) -> Reply:
        if len(ids) > 1:
            found = self.accounts.get(ids[1])
            return refusal(404, "There is none.") if found is None else _ok(found)
        term = query.get("searchTerm", [""])[0].lower()
        listed = sorted(self.accounts.values(), key=lambda each: each["name"].lower())
        matching = [each for each in listed if term in each["name"].lower()]
        skip, top = int(query["skip"][0]), int(query["top"][0])
        return _ok({"totalCount": len(matching), "results": matching[skip : skip + top]})

    def _put_robotaccount(self, ids: list[str], body: Any, _query: Any) -> Reply:
        found = self.accounts.get(ids[0])
        if found is None:
            return refusal(404, "There is none.")
        if found["name"] in self.locked:
            return refusal(400, "It is locked.")
        if unknown := self._unknown_groups((*body["groupIDsToAdd"], *body["groupIDsToRemove"])):
            return unknown
        found["displayName"] = body.get("displayName") or None
        kept = [group for group in found["groupIds"] if group not in body["groupIDsToRemove"]]
        found["groupIds"] = [*kept, *(group for group in body["groupIDsToAdd"] if group not in kept)]
        return _ok(found)

    def _post_robotaccount(self, _ids: list[str], body: Any, _query: Any) -> Reply:
        if self.named(body["name"]) is not None:
            return refusal(409, "The name is taken.")
        if body["name"] in self.locked:
            return refusal(400, "The name is not valid.")
        if unknown := self._unknown_groups(body["groupIDsToAdd"]):
            return unknown
        account_id = self.add(body["name"], body.get("displayName", ""), body["groupIDsToAdd"])
        self.created.append(body["name"])
        shown = dict(self.accounts[account_id])
        if not self.shows_groups:
            del shown["groupIds"]
        return _ok(shown, 201)

    def _delete_robotaccount(self, _ids: list[str], body: Any, _query: Any) -> Reply:
        doomed = [self.accounts.get(account_id) for account_id in body["robotAccountIDs"]]
        if None in doomed:
            return refusal(404, "One of them does not exist.")
        found = [account for account in doomed if account is not None]
        if any(account["name"] in self.locked for account in found):
            return refusal(400, "One of them is locked.")
        for account in found:
            self.deleted.append(account["name"])
            del self.accounts[account["id"]]
        return Reply(ReplyKind.OK, 204)

    def _get_group(self, _ids: list[str], _body: Any, _query: Any) -> Reply:
        own = [{"id": group_id, "name": name, "type": "custom"} for group_id, name in self.groups.items()]
        return _ok([EVERYONE, *own])

    def _put_group(self, ids: list[str], body: Any, _query: Any) -> Reply:
        joining, leaving = body["directoryUserIDsToAdd"], body["directoryUserIDsToRemove"]
        if len(joining) + len(leaving) > self.most_members:
            return Reply(ReplyKind.REFUSED, 413)
        if ids[0] not in self.groups:
            return refusal(404, "There is no such group.")
        if refused := self._refused_members((*joining, *leaving)):
            return refused
        self._join(ids[0], joining)
        for account_id in leaving:
            groups = self.accounts[account_id]["groupIds"]
            groups[:] = [group for group in groups if group != ids[0]]
        return _ok({"id": ids[0], "name": self.groups[ids[0]]})

    def _post_group(self, _ids: list[str], body: Any, _query: Any) -> Reply:
        members = body["directoryUserMemberIDs"]
        if len(members) > self.most_members:
            return Reply(ReplyKind.REFUSED, 413)
        names = {name.lower() for name in self.groups.values()}
        if body["id"] in self.groups or body["name"].lower() in names:
            return refusal(409, "The group exists.")
        if body["name"] in self.locked:
            return refusal(400, "A group may not be called that.")
        if refused := self._refused_members(members):
            return refused
        self.groups[body["id"]] = body["name"]
        self._join(body["id"], members)
        return _ok({"id": body["id"], "name": body["name"], "type": "custom"}, 201)

    def _join(self, group_id: str, account_ids: Sequence[str]) -> None:
        for account_id in account_ids:
            groups = self.accounts[account_id]["groupIds"]
            groups.extend([group_id] if group_id not in groups else [])

    def _unknown_groups(self, group_ids: Sequence[str]) -> Reply | None:
        unknown = [group_id for group_id in group_ids if group_id not in self.groups]
        return refusal(400, f"There is no group {unknown[0]}.") if unknown else None

    def _refused_members(self, account_ids: Sequence[str]) -> Reply | None:
        if any(self.accounts.get(each, {"name": None})["name"] in {None, *self.locked} for each in account_ids):
            return refusal(400, "A member cannot be changed.")
        return None


def _ok(payload: Any, status: int = 200) -> Reply:
    return Reply(ReplyKind.OK, status, orjson.loads(orjson.dumps(payload)))


class _Client:
    """What a run takes for its client."""

    def __init__(self, server: LifeServer) -> None:
        self.server = server

    async def send(self, request: Request) -> Reply:
        return await self.server.answer(request)

    async def claims(self) -> TokenClaims | None:
        return self.server.claims

    def refused(self, credential: int, reason: str) -> None:
        raise AssertionError(f"no test refuses the credential {credential}: {reason}")


@contextmanager
def serving(server: LifeServer) -> Iterator[None]:
    """Let every connection of a run lead to the server."""

    @asynccontextmanager
    async def connected(_settings: ClientSettings, *_: object) -> AsyncIterator[_Client]:
        yield _Client(server)

    with patch("bulkid.runs.execution.connection.open_client", connected):
        yield


def wanted(
    name: str,
    action: Action = Action.UPDATE,
    *,
    account_id: str = "",
    display_name: str | None = None,
    add: Sequence[str] = (),
    **more: Any,
) -> DesiredState:
    given: dict[str, Any] = {"remove": (), "exact": None, "rows": (), **more}
    return DesiredState(account_id, name, (display_name,), tuple(add), action=action, **given)


def journal_run(
    folder: Path,
    states: Sequence[DesiredState],
    new_groups: Mapping[str, str] | None = None,
    befores: Mapping[int, Account] | None = None,
    **options: Any,
) -> str:
    """Put a run into a journal whose plan is whole, and that has sent nothing; gives its id. Rows begin at 2."""
    given = runs.RunOptions(report_dir=folder / "reports", **{"retry_base_s": 0.001, "yes_really": True, **options})
    context = runs.Context(state_dir=folder / "state")
    info = SheetInfo("robots.csv", "csv", "", "utf-8", ",", ("name",), ("name",))
    stored = {**dump_options(given), **({NEW_GROUPS: dict(new_groups)} if new_groups else {})}
    stored |= {APPROVED: given.approved} if given.approved else {}
    record = new_record(context, info, URL, stored, command="run")
    with open_journal(folder / "state") as journal:
        journal.create_run(record)
        journal.update_run(
            record.run_id, organization_id=ORG, report_dir=str(folder / "reports" / record.run_id), phase="planned"
        )
        rows = [SheetRow(number + 2, (state.name,), None, (), "", state.name) for number, state in enumerate(states)]
        journal.add_rows(record.run_id, rows)
        items = [
            RunItem(
                number, state._replace(rows=(number + 2,)), (befores or {}).get(number), "", Outcome(Status.PENDING)
            )
            for number, state in enumerate(states)
        ]
        journal.add_items(record.run_id, items)
        journal.update_run(record.run_id, status=RunStatus.INTERRUPTED)
    return record.run_id


def go_on(folder: Path, server: LifeServer, hooks: runs.Hooks | None = None, **more: Any) -> runs.RunResult:
    """Work on the run until it ends."""
    context = runs.Context(
        state_dir=folder / "state",
        hooks=hooks or runs.Hooks(),
        clock=Hurried(1000.0),
        random=random.Random(7).random,
        **more,
    )
    target = runs.Target(url=URL, access_token="1234", organization_id=ORG)
    with serving(server):
        return anyio.run(runs.resume, "", target, context)


def undone(folder: Path, server: LifeServer) -> dict[str, Status]:
    """Undo the newest run; gives the status of each row by name."""
    how = runs.RunOptions(report_dir=folder / "reports", allow_delete=True)
    context = runs.Context(state_dir=folder / "state", clock=Hurried(1000.0), random=random.Random(7).random)

    async def undo() -> runs.RunResult:
        return await runs.undo("last", runs.Target(url=URL, access_token="1234"), how, context, recreate=True)

    with serving(server):
        result = anyio.run(undo)
    return {name: row.status for name, row in rows_of(folder, result.run.run_id).items()}


@contextmanager
def waits() -> Iterator[list[float]]:
    """Give the seconds of each wait that a run begins meanwhile."""
    waited: list[float] = []
    sleep = Hurried.sleep

    async def noted(self: Hurried, seconds: float) -> None:
        waited.append(seconds)
        await sleep(self, seconds)

    with patch.object(Hurried, "sleep", noted):
        yield waited


def rows_of(folder: Path, run_id: str) -> dict[str, Any]:
    """The rows of the report, by name."""
    with open_journal(folder / "state") as journal:
        return {row.name: row for row in journal.report_rows(run_id)}


def statuses(folder: Path, run_id: str) -> dict[str, str]:
    return {name: row.status.value for name, row in rows_of(folder, run_id).items()}


def counts(folder: Path, run_id: str) -> Counter[str]:
    return Counter(statuses(folder, run_id).values())


@contextmanager
def dead_journal() -> Iterator[Callable[[], None]]:
    """Give a function after whose call nothing is written to any journal, as after the end of the process."""
    dead = False
    with patch.multiple(Journal, **{name: _until(name, lambda: dead) for name in _WRITES}):

        def die() -> None:
            nonlocal dead
            dead = True

        yield die


_WRITES = ("update_run", "intend", "settle", "plan_again", "replace_group", "unpack_all")


def _until(name: str, is_dead: Callable[[], bool]) -> Callable[..., object]:
    write = getattr(Journal, name)

    def guarded(self: Journal, *arguments: Any, **named: Any) -> object:
        return None if is_dead() else write(self, *arguments, **named)

    return guarded


def killed_at(folder: Path, server: LifeServer, moment: int) -> bool:
    """Work on the run until a moment before or after the server works on a request; return whether it came."""
    moments = itertools.count()
    return killed_when(server, lambda *_: next(moments) == moment, lambda stop: go_on(folder, server, stop=stop))


def killed_when(
    server: LifeServer, is_last: Callable[[Request, str], bool], work: Callable[[runs.Stop], object]
) -> bool:
    """Let a run work until a request before or after which it is killed; return whether there was one.

    From then on nothing is journaled, nothing is sent, and no answer comes.
    """
    stop, came, usual, answer = runs.Stop(), False, server.act, server.answer
    with dead_journal() as die:

        def act(request: Request, when: str) -> None:
            nonlocal came
            if came or is_last(request, when):
                came = True
                die()
                stop.abort()
                raise _DeadError
            usual(request, when)

        async def hanging(request: Request) -> Reply:
            try:
                return await answer(request)
            except _DeadError:
                await anyio.sleep_forever()
                raise AssertionError from None

        server.act, server.answer = act, hanging  # type: ignore[method-assign]
        try:
            work(stop)
        except BulkidError:
            assert came
        finally:
            server.act, server.answer = usual, answer  # type: ignore[method-assign]
    return came


class _DeadError(Exception):
    """The client is dead: no answer reaches it."""
