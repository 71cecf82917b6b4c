"""The simulated Identity Server: sockets; limits, faults and tokens of a request; the record of what it served."""

import random
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple, Self
from urllib.parse import parse_qsl, unquote

import anyio
from aiohttp import hdrs, web
from multidict import CIMultiDict

from bulkid.sandbox import messages
from bulkid.sandbox.endpoints import CALLS, Arguments, Call
from bulkid.sandbox.faults import FaultInjector, RollingLimits
from bulkid.sandbox.fixtures import seeded_organization
from bulkid.sandbox.messages import RefusalError, SandboxResponse, named_in
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.organization import LogEntry, Organization
from bulkid.sandbox.tokens import TokenIssuer

MAX_BODY_BYTES = 30_000_000
"""What the real server's web host takes by default."""

STOP_TIMEOUT_S = 0.2
_ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where this machine reaches a sandbox on all
TOKEN_PATH = "connect/token"  # noqa: S105 - a path, not a secret

MEMBERS_PATH_PARTS = 5
"""api, Group, organisation, group, Members."""

_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""SO_LINGER on, for no time: closing then sends a reset."""

_BEFORE = {
    "reset_before": SandboxResponse(0),
    "error_500": messages.abp(500, "An internal error occurred during your request!"),
    "unavailable_503": SandboxResponse(503, messages.UNAVAILABLE_PAGE, messages.HTML),
    "throttle_silent": messages.throttled(None),
    "html": messages.html_page(),
}
"""The faults that are nothing but a response in place of the call."""

_AFTER = {"reset_after": SandboxResponse(0), "error_500_after": SandboxResponse(500)}
"""The faults that are a response in place of the call's own, which was carried out."""


class _Target(NamedTuple):
    """What a path and a method mean."""

    call: Call | None  # None: known path, but not with this method
    ids: tuple[str, ...]
    query: str
    key: str  # path and query below the prefix
    allowed: str
    named: tuple[str, ...] = ()  # what the body of a POST or DELETE names


class Sandbox:
    """A simulated Identity Server.

    ``async with Sandbox(options) as sandbox`` serves it on a free port of the loopback interface; ``sandbox.url`` is
    the identity base. It can be stopped and started again and keeps its state.

    Raises:
        ValueError: an account to poison that is not there.
    """

    def __init__(
        self,
        options: SandboxOptions | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.options = options or SandboxOptions()
        self.state: Organization = seeded_organization(self.options, now())
        for status, names in (
            (400, self.options.poisoned),
            (401, self.options.unauthorized),
            (403, self.options.forbidden),
        ):
            for name in names:
                self.state.poison(name, status)
        self.log: deque[LogEntry] = deque(maxlen=self.options.log_size)
        self.served: Counter[tuple[str, int]] = Counter()  # API requests by method and status; 0: reset
        self.injected: Counter[str] = Counter()  # faults by kind
        self._monotonic = monotonic
        self._now = now
        self._sleep = sleep
        self.token_issuer = TokenIssuer(self.options, now, monotonic)
        self.limits = RollingLimits(self.options.limits, count_refused=self.options.count_refused)
        self.fault_injector = FaultInjector(self.options.seed, self.options.faults)
        self._delays = random.Random(self.options.seed)  # noqa: S311 - latency, not a secret
        self._delayed = self.options.latency_s > 0 or self.options.jitter_s > 0
        prefixes = [self.options.prefix, f"/{self.options.organization_name}/identity_"]
        if self.options.host_level == "serve":
            prefixes.append("/identity_")
        self._prefixes = tuple(f"{name.lower()}/" for name in prefixes)
        self._runner: web.AppRunner | None = None
        self._origin = ""

    # --- serving

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve on an address (port 0 takes a free one); return the identity base, as this machine reaches it.

        Raises:
            OSError: The address cannot be served on.
        """
        if self._runner is not None:
            raise RuntimeError("This sandbox is already being served.")
        runner = web.AppRunner(
            self.app(),
            access_log=None,
            handle_signals=False,
            keepalive_timeout=self.options.keep_alive_s,
            shutdown_timeout=STOP_TIMEOUT_S,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        reached = _ALL_ADDRESSES.get(host, host)
        name = f"[{reached}]" if ":" in reached else reached
        self._origin = f"http://{name}:{runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Close every connection and stop listening; a second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            with anyio.CancelScope(shield=True):  # bounded by STOP_TIMEOUT_S: a cancelled owner still frees the port
                await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def app(self) -> web.Application:
        """A fresh application that serves this sandbox, for a server of one's own."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    @property
    def url(self) -> str:
        """The identity base as a standalone server has it; valid once started."""
        return f"{self._origin}{self.options.prefix}"

    # --- one request

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._route(request)
        except ConnectionError:  # the client closed the connection before it had sent its whole body
            return web.Response(status=400)

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        for prefix in self._prefixes:
            if path[: len(prefix)].lower() == prefix:
                return await self._serve_api(request, path[len(prefix) :], query)
        federated = self.options.federated
        if federated and federated.at != "organization" and path.lower() == f"/identity_/{TOKEN_PATH}":
            return await self._serve_token(request, at_host=True)
        if path.lower().startswith("/identity_/"):  # not in prefixes: refused
            return _web_response(messages.message(400, "The organization is missing from the address.", 1100))
        return _web_response(messages.html_page())

    async def _serve_api(self, request: web.Request, path: str, query: str) -> web.StreamResponse:
        """Serve one request below a prefix, with the delay of the network, and the faults that the connection shows."""
        if path.lower().rstrip("/") == TOKEN_PATH:
            return await self._serve_token(request)
        target = _find(request.method, path, query)
        if target is None:
            return _web_response(messages.html_page())
        body = await request.read()
        if target.call is not None and target.call.names:
            target = target._replace(named=named_in(body, target.call.names))
        if self._delayed:
            outbound_s, inbound_s = self._split_delay()
            await self._sleep(outbound_s)
        arrived = self._monotonic()
        response, fault = self._respond(request, target, body, arrived)
        if self.options.rate_headers != "no":
            response = response._replace(headers={**response.headers, **self._rate_headers(request.method, arrived)})
        self._record(request, target, arrived, response, fault)
        if self._delayed:
            await self._sleep(inbound_s)
        if fault == "slow":
            await self._sleep(self.fault_injector.faults.slow_s)
        if fault in ("reset_before", "reset_after"):
            _reset(request)
        return _truncated(response) if fault == "truncated" else _web_response(response)

    async def _serve_token(self, request: web.Request, *, at_host: bool = False) -> web.Response:
        if request.method != hdrs.METH_POST:
            return _web_response(SandboxResponse(405, headers={"Allow": "POST"}))
        if self.fault_injector.draw_token_error():
            self.injected["token_error"] += 1
            return _web_response(_BEFORE["error_500"])
        if request.content_type != "application/x-www-form-urlencoded":
            return _web_response(messages.oauth("invalid_request"))
        form = dict(parse_qsl((await request.read()).decode("utf-8", "replace"), keep_blank_values=True))
        try:
            return _web_response(self.token_issuer.issue(form, at_host=at_host))
        except RefusalError as refusal:
            return _web_response(refusal.response)

    def _respond(
        self, request: web.Request, target: _Target, body: bytes, arrived: float
    ) -> tuple[SandboxResponse, str]:
        """Limits, then the fault that it meets, then the call itself. A reset is answered with status 0."""
        wait = self.limits.admit(request.method, arrived)
        if wait is not None:
            return messages.throttled(wait if self.options.retry_after else None), ""
        fault = self.fault_injector.draw(request.method, " ".join((target.key, *target.named)))
        if fault:
            self.injected[fault] += 1
        if fault == "throttle":
            return messages.throttled(self.fault_injector.faults.retry_after_s), fault
        if fault in _BEFORE:
            return _BEFORE[fault], fault
        if fault == "expired":
            self.token_issuer.revoke(request.headers.get(hdrs.AUTHORIZATION))
        try:
            response = self._call(request, target, body)
        except RefusalError as refusal:
            response = refusal.response
        if fault in _AFTER:
            response = _AFTER[fault]._replace(applied=response.applied)
        if fault == "truncated" and response.status == HTTPStatus.NO_CONTENT:
            response = response._replace(status=200)  # a 204 has no body that could end too early
        return response, fault

    def _rate_headers(self, method: str, arrived: float) -> dict[str, str]:
        """What is left of the limit that this request counts against; nothing where there is none."""
        left = self.limits.remaining(method, arrived)
        if left is None:
            return {}
        rule, remaining, reset = left
        policy = f"{rule.count};w={rule.seconds:g}"
        match self.options.rate_headers:
            case "one":
                return {
                    "RateLimit": f"limit={rule.count}, remaining={remaining}, reset={reset}",
                    "RateLimit-Policy": policy,
                }
            case "structured":
                return {
                    "RateLimit": f'"default";r={remaining};t={reset}',
                    "RateLimit-Policy": f'"default";q={rule.count};w={rule.seconds:g}',
                }
        return {
            "RateLimit-Limit": str(rule.count),
            "RateLimit-Remaining": str(remaining),
            "RateLimit-Reset": str(reset),
            "RateLimit-Policy": policy,
        }

    def _call(self, request: web.Request, target: _Target, body: bytes) -> SandboxResponse:
        headers = request.headers
        scopes = self.token_issuer.check(headers.get(hdrs.AUTHORIZATION))
        if self.options.tenant and headers.get("X-UIPATH-TenantName", "").casefold() != self.options.tenant.casefold():
            raise RefusalError(
                messages.status_code(400, "BadRequest", "The header X-UIPATH-TenantName names no tenant.")
            )
        call = target.call
        if call is None:
            raise RefusalError(SandboxResponse(405, headers={"Allow": target.allowed}))
        if not any(scope in call.scopes for scope in scopes):
            raise RefusalError(messages.scope_missing(" ".join(scopes), call.scopes))
        content_type = headers.get(hdrs.CONTENT_TYPE, "")
        arguments = Arguments(self.state, self.options, target.ids, target.query, content_type, body, self._now())
        if call.names_organization and target.ids[0].casefold() != self.options.organization_id.casefold():
            raise RefusalError(messages.wrong_organization(target.ids[0]))
        return call.run(arguments)

    def _record(
        self, request: web.Request, target: _Target, arrived: float, response: SandboxResponse, fault: str
    ) -> None:
        call = target.call
        account = target.ids[call.subject] if call is not None and call.subject is not None else ""
        self.served[request.method, response.status] += 1
        path, applied = request.raw_path, response.applied
        self.log.append(LogEntry(request.method, path, response.status, arrived, account, applied, fault, target.named))

    def _split_delay(self) -> tuple[float, float]:
        """The network's delay there and back. A request counts when it arrives, not when it was sent."""
        total_s = self.options.latency_s + self._delays.random() * self.options.jitter_s
        outbound_s = self._delays.random() * total_s
        return outbound_s, total_s - outbound_s


def _find(method: str, path: str, query: str) -> _Target | None:
    """What a path below the prefix means; None when the API has no such path."""
    parts = path.removesuffix("/").split("/")
    if len(parts) < 2 or parts[0].lower() != "api" or "" in parts:  # noqa: PLR2004 - api and a resource
        return None
    methods = CALLS.get((parts[1].lower(), len(parts) - 2))
    if methods is None or (len(parts) == MEMBERS_PATH_PARTS and parts[-1].lower() != "members"):
        return None
    ids = tuple(unquote(part) if "%" in part else part for part in parts[2:])
    return _Target(methods.get(method), ids, query, f"{path}?{query}" if query else path, ", ".join(methods))


def _web_response(response: SandboxResponse) -> web.Response:
    headers = CIMultiDict(response.headers)
    if response.body:
        headers[hdrs.CONTENT_TYPE] = response.content_type
    return web.Response(status=response.status, body=response.body, headers=headers)


def _truncated(response: SandboxResponse) -> web.StreamResponse:
    """The first half of a body under the whole one's Content-Length, then the end of the connection."""
    truncated = _web_response(response._replace(body=response.body[: len(response.body) // 2]))
    truncated.headers[hdrs.CONTENT_LENGTH] = str(len(response.body) + 1)
    truncated.force_close()
    return truncated


def _reset(request: web.Request) -> None:
    """End the connection with a reset (RST), as a crashed server or an impatient firewall does."""
    transport = request.transport
    if transport is None:
        return
    link = transport.get_extra_info("socket")
    if link is not None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
