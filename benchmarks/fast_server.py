"""An Identity Server with real state and next to no cost of its own, so that a benchmark measures the client.

An asyncio Protocol by hand on uvloop, bodies by orjson. It speaks what bulkid and the baseline use: the token endpoint,
robot accounts and groups (list, one, PUT). Each PUT is applied, and answered with the account as it is afterwards.
Keep-alive, bodies by Content-Length, requests in pieces and several in one piece; no chunked bodies. Loopback only.

    python benchmarks/fast_server.py --accounts 20000 --core 1

With ``--cost MICROSECONDS`` it takes that much time for each PUT of an account, one after the other, as a server does
that is slower than the client (``backlog.py``). With ``--workload NAME`` its accounts and groups are those that the
sheet of that workload (``workloads.py``) is about. It prints one line, ``ready http://127.0.0.1:PORT/identity``, and
serves until it is ended. ``POST /_reset`` puts the directory back, ``GET /_stats`` says what was served since, how many
accounts differ from the directory as made, and with ``--cost`` how long no PUT waited. ``GET /_cpu`` says what
processor time the server has used.
"""

import argparse
import asyncio
import base64
import contextlib
import os
import re
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import orjson
from backlog import Backlog
from directory import EVERYONE, GROUPS, ORGANIZATION, account_id, account_name, group_id, group_name

CREATED = "2025-01-01T00:00:00Z"
PHRASES = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
AUTHORIZED = re.compile(rb"\r\nauthorization: *bearer .", re.IGNORECASE)
PUT_PREFIX = b"PUT /identity/api/RobotAccount/"
HEAD_200 = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: "


class State:
    """The directory and the counters."""

    def __init__(self, accounts: int, limit: tuple[int, float] | None = None, cost_s: float = 0.0) -> None:
        self.size = accounts
        self.limit = limit  # PUTs, in any so many seconds
        self.cost_s = cost_s  # that each PUT of an account takes
        self.group_count = GROUPS
        self.members: dict[int, tuple[str, ...]] = {}  # groups that an account is in from the beginning, by its number
        self.reset()

    def use(self, workload: str, rows: int) -> None:
        """Take the accounts and groups that a workload is about."""
        from workloads import WORKLOADS

        chosen = WORKLOADS[workload]
        self.group_count = 1 + chosen.groups(rows)
        for change in chosen.changes(rows):
            if change.before is not None and change.before.group_ids:
                self.members[int(change.account_id[:8], 16)] = change.before.group_ids
        self.reset()

    def reset(self) -> None:
        """Make the directory and the counters anew."""
        self.accounts = {account_id(n): self._account(n) for n in range(self.size)}
        self.groups = {group_id(n): self._group(n) for n in range(self.group_count)}
        self.served = {"GET": 0, "PUT": 0, "POST": 0}
        self.first_put = self.last_put = 0.0
        self.recent: deque[float] = deque()
        self.refused = 0
        self.backlog = Backlog(self.cost_s, time.monotonic, call_soon) if self.cost_s else None

    def _account(self, number: int) -> dict[str, Any]:
        return {
            "id": account_id(number),
            "name": account_name(number),
            "displayName": f"Robot {number}",
            "creationTime": CREATED,
            "lastLoginTime": None,
            "groupIds": [EVERYONE, *self.members.get(number, ())],
        }

    @staticmethod
    def _group(number: int) -> dict[str, Any]:
        return {
            "id": group_id(number),
            "name": group_name(number),
            "displayName": group_name(number),
            "type": "builtIn" if number == 0 else "custom",
            "creationTime": CREATED,
            "lastModificationTime": CREATED,
            "members": None,
        }

    def take_put(self) -> bool:
        """Count a PUT that came in now; whether it is within the limit."""
        now = time.monotonic()
        self.served["PUT"] += 1
        self.first_put = self.first_put or now
        self.last_put = now
        if self.limit is None:
            return True
        while self.recent and self.recent[0] <= now - self.limit[1]:
            self.recent.popleft()
        if len(self.recent) >= self.limit[0]:
            self.refused += 1
            return False
        self.recent.append(now)
        return True

    def put_account(self, key: str, body: bytes) -> tuple[int, bytes]:
        """Apply one account's PUT: the account as it is afterwards."""
        account = self.accounts.get(key)
        if account is None:
            return refusal(404, f"Robot account {key} was not found.")
        try:
            request = orjson.loads(body)
            if request["partitionGlobalId"] != ORGANIZATION:
                return refusal(400, "The organization is another one.")
            # checked before anything is applied: a refused request changes nothing
            unknown = [group for group in request.get("groupIDsToAdd") or () if group not in self.groups]
            if unknown:
                return refusal(400, f"Group {unknown[0]} was not found.")
            if "displayName" in request:
                account["displayName"] = request["displayName"]
            member_of = account["groupIds"]
            for group in request.get("groupIDsToAdd") or ():
                if group not in member_of:
                    member_of.append(group)
            for group in request.get("groupIDsToRemove") or ():
                if group in member_of and group != EVERYONE:
                    member_of.remove(group)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return refusal(400, "The body cannot be read.")
        return 200, orjson.dumps(account)

    def put_group(self, key: str, body: bytes) -> tuple[int, bytes]:
        """Apply one group's PUT: the group."""
        group = self.groups.get(key)
        if group is None:
            return refusal(404, f"Group {key} was not found.")
        try:
            request = orjson.loads(body)
            for member in request.get("directoryUserIDsToAdd") or ():
                if key not in self.accounts[member]["groupIds"]:
                    self.accounts[member]["groupIds"].append(key)
            for member in request.get("directoryUserIDsToRemove") or ():
                if key in self.accounts[member]["groupIds"]:
                    self.accounts[member]["groupIds"].remove(key)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return refusal(400, "The body cannot be read, or names an account that is unknown.")
        return 200, orjson.dumps(group)

    def page(self, query: str) -> tuple[int, bytes]:
        """One page of the accounts."""
        asked = {name: found[-1] for name, found in parse_qs(query).items()}
        accounts = list(self.accounts.values())
        term = asked.get("searchTerm", "").lower()
        if term:
            accounts = [
                each for each in accounts if term in each["name"] or term in (each["displayName"] or "").lower()
            ]
        top, skip = min(int(asked.get("top", 10)), 1000), int(asked.get("skip", 0))
        return 200, orjson.dumps({"totalCount": len(accounts), "results": accounts[skip : skip + top]})

    def stats(self) -> bytes:
        """What was served, and how many accounts are no longer as made."""
        changed = sum(account != self._account(n) for n, account in enumerate(self.accounts.values()))
        span = self.last_put - self.first_put
        counts = {"served": self.served, "changed": changed, "refused_429": self.refused}
        return orjson.dumps(
            {
                **counts,
                "put_span_s": span,
                "first_put_at": self.first_put,
                "last_put_at": self.last_put,
                "idle_s": self.backlog.idle_s if self.backlog else None,
            }
        )


def call_soon(function: Callable[[], None]) -> None:
    """Have the event loop call a function in its next round."""
    asyncio.get_running_loop().call_soon(function)


def refusal(status: int, message: str) -> tuple[int, bytes]:
    """An error in one of the shapes of the real server."""
    return status, orjson.dumps({"message": message, "errorCode": status, "traceId": "00-0-00"})


def token() -> bytes:
    """A token as the real server makes it, unsigned: a JWT that names the organisation and the scopes."""
    claims = {"prt_id": ORGANIZATION, "scope": ["PM.RobotAccount", "PM.Group"], "exp": int(time.time()) + 3600}
    parts = (base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in ({"alg": "none"}, claims))
    return orjson.dumps({"access_token": ".".join(parts) + ".x", "expires_in": 3600, "token_type": "Bearer"})


def answer(state: State, method: str, target: str, head: bytes, body: bytes) -> tuple[int, bytes]:
    """The answer to every request but an account's PUT with a token, which has a way of its own."""
    path, _, query = target.partition("?")
    parts = [unquote(part) for part in path.strip("/").split("/")]
    match (method, *parts):
        case ("POST", "_reset"):
            state.reset()
            found = 200, b"{}"
        case ("GET", "_stats"):
            found = 200, state.stats()
        case ("GET", "_cpu"):
            found = 200, orjson.dumps({"cpu_s": time.process_time()})
        case ("POST", "identity", "connect", "token"):
            found = 200, token()
        case (_, "identity", "api", kind, *rest) if AUTHORIZED.search(head):
            found = call(state, (method, kind, *rest), query, body)
        case (_, "identity", "api", *_):
            found = refusal(401, "No token.")
        case _:
            found = refusal(404, f"There is no {method} {path}.")
    return found


def call(state: State, parts: tuple[str, ...], query: str, body: bytes) -> tuple[int, bytes]:
    """The answer to a call of the API that has a token."""
    match parts:
        case ("GET", "RobotAccount", organization) if organization == ORGANIZATION:
            found = state.page(query)
        case ("GET", "Group", organization) if organization == ORGANIZATION:
            found = 200, orjson.dumps(list(state.groups.values()))
        case ("GET", "RobotAccount", organization, key) if organization == ORGANIZATION and key in state.accounts:
            found = 200, orjson.dumps(state.accounts[key])
        case ("GET", "Group", organization, key) if organization == ORGANIZATION and key in state.groups:
            found = 200, orjson.dumps(state.groups[key])
        case ("PUT", "Group", key):
            found = state.put_group(key, body)
        case _:
            found = refusal(404, "It was not found.")
    return found


class Connection(asyncio.Protocol):
    """One connection: pieces come in, whole requests are answered in order."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the two things that are done with a transport."""
        self.write = cast("asyncio.Transport", transport).write  # uvloop's is one in all but name
        self.close = transport.close

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole by now."""
        waiting = self.waiting + data if self.waiting else data
        while waiting:
            end = waiting.find(b"\r\n\r\n")
            if end < 0:
                break
            length = CONTENT_LENGTH.search(waiting, 0, end)
            stop = end + 4 + (int(length[1]) if length else 0)
            if len(waiting) < stop:
                break
            self.serve(waiting[:end], waiting[end + 4 : stop])
            waiting = waiting[stop:]
        self.waiting = waiting

    def serve(self, head: bytes, body: bytes) -> None:
        """Answer one request."""
        state, backlog = self.state, None
        if head.startswith(PUT_PREFIX) and AUTHORIZED.search(head):
            backlog = state.backlog
            if state.take_put():
                key = head[len(PUT_PREFIX) : head.index(b" ", len(PUT_PREFIX))].decode()
                status, payload = state.put_account(unquote(key) if "%" in key else key, body)
            else:
                status, payload = refusal(429, "Too many requests.")
        else:
            method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            try:
                status, payload = answer(state, method, target, head, body)
            except ValueError as error:
                status, payload = refusal(400, str(error))
            if "/_" not in target:
                state.served[method] = state.served.get(method, 0) + 1
        line = HEAD_200
        if status != 200:
            phrase = PHRASES[status]
            line = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: ".encode()
        response, last = b"%b%d\r\n\r\n%b" % (line, len(payload), payload), b"connection: close" in head.lower()
        if backlog is None:
            self.respond(response, last)
        else:
            backlog.add(partial(self.respond, response, last))

    def respond(self, response: bytes, last: bool) -> None:
        """Send a response, and close the connection after the last one."""
        self.write(response)
        if last:
            self.close()


async def serve(state: State, port: int) -> None:
    """Serve until the task is cancelled."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(state), "127.0.0.1", port, backlog=1024)
    print(f"ready http://127.0.0.1:{server.sockets[0].getsockname()[1]}/identity", flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A fast Identity Server for benchmarks.")
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--core", type=int, help="processor core to stay on, where the platform can do that")
    parser.add_argument("--limit", help="PUTs of accounts in any rolling window, as COUNT/SECONDS; 429 above it")
    parser.add_argument("--cost", type=float, default=0.0, help="microseconds that each PUT of an account takes")
    parser.add_argument("--workload", help="accounts and groups that this workload of --accounts rows is about")
    arguments = parser.parse_args()
    count, _, seconds = (arguments.limit or "").partition("/")
    if arguments.core is not None and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # there is no such core
            os.sched_setaffinity(0, {arguments.core})
    try:
        import uvloop

        run = uvloop.run
    except ImportError:  # Windows
        run = asyncio.run
    limit = (int(count), float(seconds)) if count else None
    state = State(arguments.accounts, limit, arguments.cost / 1e6)
    if arguments.workload:
        state.use(arguments.workload, arguments.accounts)
    with contextlib.suppress(KeyboardInterrupt):
        run(serve(state, arguments.port))


if __name__ == "__main__":
    main()
