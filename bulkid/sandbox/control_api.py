"""Reading and changing a sandbox's state over HTTP, for tests that run it in another process.

It asks for no credentials: it answers only callers on this machine.
"""

import ipaddress
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import orjson
from aiohttp import web

from bulkid.model import QuotaRule
from bulkid.sandbox.options import Faults, faults_from, parse_faults, parse_limits
from bulkid.sandbox.organization import Organization

PREFIX = "/_sandbox/"
_BAD_REQUEST, _FORBIDDEN, _NOT_FOUND = 400, 403, 404


class LogEntry(NamedTuple):
    """One request that came in, and what became of it."""

    method: str
    path: str  # with the query, as it came in
    status: int  # 0: the connection was reset instead of an answer
    arrived: float  # seconds on the sandbox's monotonic clock
    account: str  # id of the robot account that the path names; ""
    applied: bool  # whether a write was carried out, a write without effect included
    fault: str  # the fault that it met; ""


class _Sandbox(Protocol):
    state: Organization
    log: deque[LogEntry]
    served: Counter[tuple[str, int]]
    injected: Counter[str]

    def set_faults(self, faults: Faults) -> None: ...
    def set_limits(self, rules: Iterable[QuotaRule]) -> None: ...
    def change_secret(self, secret: str) -> None: ...


async def serve(sandbox: _Sandbox, request: web.Request) -> web.Response:
    """Answer a request below ``/_sandbox/``.

    ``GET state`` (optionally ``?account=ID``), ``GET log`` (optionally ``?since=N``), ``POST faults`` and
    ``POST limits`` (text as the command line takes it; faults also as a JSON object), ``POST account/{id}``,
    ``POST secret`` (a JSON object with ``client_secret``: takes back all tokens, too).
    """
    if not _local(request.remote):
        return _json({"error": "Only callers on this machine are heard."}, _FORBIDDEN)
    try:
        return _json(await _answer(sandbox, request))
    except KeyError as error:
        return _json({"error": f"There is no {error}."}, _NOT_FOUND)
    except ValueError as error:
        return _json({"error": str(error)}, _BAD_REQUEST)


async def _answer(sandbox: _Sandbox, request: web.Request) -> dict[str, Any]:
    what, _, rest = request.path[len(PREFIX) :].partition("/")
    body = await request.read()
    match request.method, what:
        case "GET", "state":
            return _state(sandbox, request.query.get("account", ""))
        case "GET", "log":
            return _log(sandbox, int(request.query.get("since", "0")))
        case "POST", "faults":
            sandbox.set_faults(faults_from(_object(body)) if body.startswith(b"{") else parse_faults(body.decode()))
        case "POST", "limits":
            sandbox.set_limits(parse_limits(body.decode()))
        case "POST", "secret":
            sandbox.change_secret(str(_object(body)["client_secret"]))
        case "POST", "account":
            return _change(sandbox, rest, _object(body))
        case _:
            raise KeyError(request.path)
    return {}


def _state(sandbox: _Sandbox, account_id: str) -> dict[str, Any]:
    state = sandbox.state
    if account_id:
        return {"accounts": [state.account_dto(state.account(account_id))]}
    return {
        "accounts": [state.account_dto(account) for account in state.accounts.values()],
        "groups": [state.group_dto(group) for group in state.groups.values()],
        "served": [{"method": key[0], "status": key[1], "count": number} for key, number in sandbox.served.items()],
        "faults": dict(sandbox.injected),
    }


def _log(sandbox: _Sandbox, since: int) -> dict[str, Any]:
    """Entries from number ``since`` on, as far as they are still remembered; ``total`` is the next number."""
    total = sum(sandbox.served.values())
    first = total - len(sandbox.log)
    entries = [entry._asdict() for entry in list(sandbox.log)[max(0, since - first) :]]
    return {"total": total, "entries": entries}


def _change(sandbox: _Sandbox, account_id: str, change: dict[str, Any]) -> dict[str, Any]:
    """Change an account behind the client's back; only what is given changes. ``{"delete": true}`` removes it."""
    state = sandbox.state
    account = state.account(account_id)
    if change.get("delete"):
        state.delete(account_id)
        return {}
    joined = [state.group(item) for item in change.get("groupIDsToAdd", ())]
    left = [state.group(item) for item in change.get("groupIDsToRemove", ())]
    if "displayName" in change:
        state.rename(account, change["displayName"])
    state.join(account, joined)
    state.leave(account, left)
    return state.account_dto(account)


def _object(body: bytes) -> dict[str, Any]:
    value = orjson.loads(body)
    return value if isinstance(value, dict) else {}


def _local(remote: str | None) -> bool:
    try:
        return ipaddress.ip_address(remote or "").is_loopback
    except ValueError:
        return False


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
