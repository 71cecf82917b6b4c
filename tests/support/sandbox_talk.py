"""A plain HTTP client over a real socket for one sandbox, and a clock that tests move by hand."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, Protocol

import aiohttp
from aiohttp import hdrs

from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


class Got(NamedTuple):
    status: int
    headers: Any
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


class FakeTime:
    """A monotonic clock and a sleep that moves it."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()
        self.at += seconds


class Talk:
    """Speaks to a sandbox as curl would: nothing is retried, no connection is used twice."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession, time: FakeTime) -> None:
        self.sandbox = sandbox
        self.session = session
        self.time = time
        self.token = "1234"

    @property
    def origin(self) -> str:
        return self.sandbox.url.removesuffix(self.sandbox.options.prefix)

    async def ask(self, method: str, url: str, *, token: str | None = "", **request: Any) -> Got:
        """Ask; ``token`` "" is the usual one, None is none. A relative address is below the identity base."""
        url = url if "://" in url else f"{self.sandbox.url}/{url}"
        headers = dict(request.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token or self.token}"
        async with self.session.request(method, url, headers=headers, **request) as response:
            return Got(response.status, response.headers, await response.read())

    async def get(self, path: str, **request: Any) -> Got:
        return await self.ask("GET", path, **request)

    async def put(self, account_id: str, **fields: Any) -> Got:
        """Update an account; the organisation is filled in."""
        return await self.ask("PUT", f"api/RobotAccount/{account_id}", json={"partitionGlobalId": ORG} | fields)

    async def put_group(self, group_id: str, **fields: Any) -> Got:
        return await self.ask("PUT", f"api/Group/{group_id}", json={"partitionGlobalId": ORG} | fields)

    async def create(self, name: str, **fields: Any) -> Got:
        """Create an account; the organisation is filled in."""
        return await self.ask("POST", "api/RobotAccount", json={"partitionGlobalId": ORG, "name": name} | fields)

    async def delete(self, *account_ids: str) -> Got:
        """Delete accounts in one request."""
        return await self.ask("DELETE", f"api/RobotAccount/{ORG}", json={"robotAccountIDs": account_ids})

    async def create_group(self, group_id: str, name: str, **fields: Any) -> Got:
        body = {"partitionGlobalId": ORG, "id": group_id, "name": name}
        return await self.ask("POST", "api/Group", json=body | fields)

    async def delete_groups(self, *group_ids: str) -> Got:
        """Delete groups in one request."""
        return await self.ask("DELETE", f"api/Group/{ORG}", json={"groupIDs": group_ids})

    async def fetch_token(self, **fields: str) -> Got:
        form = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": "sandbox-secret"}
        return await self.ask("POST", "connect/token", token=None, data={**form, **fields})


@asynccontextmanager
async def talk_to_sandbox(**options: Any) -> AsyncIterator[Talk]:
    """A client for a sandbox of sixty accounts, without limits or faults unless the options say so."""
    time = FakeTime()
    defaults = {"accounts": 60, "static_tokens": ("1234",), "limits": ()}
    sandbox = Sandbox(
        SandboxOptions(**(defaults | options)), monotonic=time.monotonic, now=lambda: 1_700_000_000.0, sleep=time.sleep
    )
    connector = aiohttp.TCPConnector(force_close=True)
    async with sandbox, aiohttp.ClientSession(connector=connector) as session:
        session._retry_connection = False  # aiohttp sends a PUT or DELETE again by itself after a reset
        yield Talk(sandbox, session, time)


class Talking(Protocol):
    """What the fixture ``talking`` is."""

    def __call__(self, **options: Any) -> AbstractAsyncContextManager[Talk]: ...


class _Request:
    """What a sandbox reads of a request."""

    transport = None

    def __init__(self, method: str, path: str, body: bytes) -> None:
        self.method = method
        self.raw_path = path
        self.headers = {hdrs.AUTHORIZATION: "Bearer 1234", hdrs.CONTENT_TYPE: "application/json"}
        self.body = body

    async def read(self) -> bytes:
        return self.body


def ask_directly(sandbox: Sandbox, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Ask a sandbox without a socket, for laws that take thousands of requests; the path is below the identity base.

    Returns the status, and the JSON of the answer (None where it has no body).
    """
    sent = b"" if body is None else json.dumps(body).encode()
    request: Any = _Request(method, f"{sandbox.options.prefix}/{path}", sent)
    try:
        sandbox._serve(request).send(None)  # it waits for nothing: there is no socket, and the sandbox has no delay
    except StopIteration as done:
        answer = done.value
        return answer.status, json.loads(answer.body) if answer.body else None
    raise AssertionError("the sandbox waits for something")
