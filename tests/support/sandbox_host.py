"""Sandboxes on real sockets: one thread per process of tests serves them all, each on a port of its own.

A test starts a fresh sandbox in milliseconds; its rights, its life and its record are at hand.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from bulkid.model import QuotaRule
from bulkid.sandbox.faults import FaultInjector, RollingLimits
from bulkid.sandbox.options import Faults, SandboxOptions
from bulkid.sandbox.organization import LogEntry
from bulkid.sandbox.server import Sandbox
from tests.support.bulkid_command import LONGEST_S


def set_faults(sandbox: Sandbox, faults: Faults) -> None:
    """Let other faults strike from now on."""
    sandbox.fault_injector = FaultInjector(sandbox.options.seed, faults)


def set_limits(sandbox: Sandbox, rules: Iterable[QuotaRule]) -> None:
    """Put other limits in force; what was counted so far is forgotten."""
    sandbox.limits = RollingLimits(rules, count_refused=sandbox.options.count_refused)


_running: list[tuple[AbstractContextManager[BlockingPortal], BlockingPortal]] = []


def serving_portal() -> BlockingPortal:
    """The thread that serves, with its event loop; started by the first test that needs it."""
    if not _running:
        manager = start_blocking_portal()
        _running.append((manager, manager.__enter__()))
    return _running[0][1]


def end_serving() -> None:
    """End the thread, after the last test."""
    while _running:
        manager, _ = _running.pop()
        manager.__exit__(None, None, None)


@dataclass
class Hosted:
    """A sandbox on a real socket, served by a thread of this process; it keeps its state when it stops."""

    sandbox: Sandbox
    portal: BlockingPortal = field(repr=False)
    port: int = 0

    @property
    def url(self) -> str:
        return self.sandbox.url

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self.url.rsplit("/", 1)[0]

    def start(self) -> None:
        """Listen; again on the same port when it did before."""
        self.portal.call(self.sandbox.start, "127.0.0.1", self.port)
        self.port = int(self.sandbox.url.rsplit(":", 1)[1].partition("/")[0])

    def stop(self) -> None:
        """Close every connection and listen no more."""
        self.portal.call(self.sandbox.stop)

    def accounts(self) -> list[dict[str, Any]]:
        """The accounts as the API writes them."""
        return self.portal.call(lambda: [*map(self.sandbox.state.account_dto, self.sandbox.state.accounts.values())])

    def groups(self) -> list[dict[str, Any]]:
        """The groups as the API writes them."""
        return [self.sandbox.state.group_dto(group) for group in self.sandbox.state.groups.values()]

    def served(self) -> int:
        """How many API requests came in so far."""
        return sum(self.portal.call(lambda: [*self.sandbox.served.values()]))

    def log(self, since: int = 0) -> list[dict[str, Any]]:
        """The requests that came in, from number ``since`` on, as far as the sandbox remembers them."""
        entries = [entry._asdict() for entry in self.portal.call(lambda: [*self.sandbox.log])]
        return entries[max(0, since - (self.served() - len(entries))) :]

    def set_faults(self, **probabilities: Any) -> None:
        """Let these faults strike from now on, and no others."""
        self.portal.call(set_faults, self.sandbox, Faults(**probabilities))

    def display_name(self, name: str) -> str | None:
        """The display name of an account, as the server has it."""
        by_name = {account.name: account for account in self.sandbox.state.accounts.values()}
        return by_name[name].display_name

    def account_named(self, name: str) -> dict[str, Any] | None:
        """The account of this name as the API writes it; None when there is none."""
        wanted = name.casefold()
        return next((account for account in self.accounts() if account["name"].casefold() == wanted), None)

    def requests(self) -> Counter[str]:
        """How many API requests of each method came in so far; those for tokens are not counted."""
        counts: Counter[str] = Counter()
        for (method, _), times in dict(self.sandbox.served).items():
            counts[method] += times
        return counts

    def sent(self, method: str) -> list[LogEntry]:
        """The requests of a method that came in, in order."""
        return [entry for entry in tuple(self.sandbox.log) if entry.method == method]

    def puts(self) -> list[LogEntry]:
        """The PUTs that came in, in order."""
        return self.sent("PUT")


@contextmanager
def hosted(**options: Any) -> Iterator[Hosted]:
    """A sandbox without limits (unless told otherwise), served while the block runs."""
    given = {"accounts": 300, "limits": ()} | options
    host = Hosted(Sandbox(SandboxOptions(**given)), serving_portal())
    host.start()
    try:
        yield host
    finally:
        host.stop()


def slow_puts(host: Hosted, seconds: float) -> None:
    """Answer every PUT so many seconds after it was carried out, until other faults are set."""
    always(host, "PUT", "slow", slow_s=seconds)


def always(host: Hosted, method: str, fault: str, **options: Any) -> None:
    """Let one fault strike every request of a method and no others, until other faults are set."""
    host.set_faults(**options)
    injector = host.sandbox.fault_injector
    injector.draw = lambda asked, _target: fault if asked == method else ""  # type: ignore[method-assign]


def after_puts(host: Hosted, count: int, act: Callable[[], object]) -> None:
    """Have the server do something once it has carried out so many PUTs, before it answers the last of them."""
    after_requests(host, "PUT", count, act)


def after_requests(host: Hosted, method: str, count: int, act: Callable[[], object]) -> None:
    """Have the server do something once it has carried out so many requests, before it answers the last of them."""
    record = host.sandbox._record

    def record_and_act(*arguments: Any) -> None:
        record(*arguments)
        sent = host.sent(method)
        if len(sent) == count and sent[-1] is host.sandbox.log[-1]:
            act()

    host.sandbox._record = record_and_act  # type: ignore[method-assign]  # the moment is the server's


@contextmanager
def meanwhile(act: Callable[[threading.Event], object]) -> Iterator[None]:
    """Do something in a thread while the block runs; it is given the event of the block's end. A failure is raised."""
    failed: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            act(ended)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LONGEST_S)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


def wait_for_puts(host: Hosted, count: int) -> None:
    """Wait until so many PUTs have come in."""
    wait_for_requests(host, "PUT", count)


def wait_for_requests(host: Hosted, method: str, count: int) -> None:
    """Wait until so many requests of a method have come in."""
    deadline = time.monotonic() + LONGEST_S
    while host.requests()[method] < count:
        assert time.monotonic() < deadline, "the run does not go on"
        time.sleep(0.01)
