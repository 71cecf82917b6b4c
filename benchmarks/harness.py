"""Runs commands side by side and measures each: wall clock, CPU (user and system), peak memory.

The server has a core of its own, and the client another, or both where the benchmark says so. Variants alternate (A B A
B ...), so that a machine that is slow for a while is slow for both, and the ratio is taken pair by pair. This process
stays small on purpose: on Linux a child's peak memory never reads lower than what its parent held when it was started.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CLIENT_CORE, SERVER_CORE = 0, 1
WATCH_EVERY_S = 0.005
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclasses.dataclass(frozen=True)
class Variant:
    """A command to measure. ``prepare`` runs before each run and may add to the command; ``check`` runs after it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    prepare: Callable[[], Sequence[str]] = tuple
    check: Callable[[], None] = lambda: None
    exits: frozenset[int] = frozenset({0})  # the exit codes that are as they should be


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one run took."""

    wall_s: float
    cpu_s: float  # user and system
    peak_mib: float  # resident, of the largest process
    together_mib: float = float("nan")  # of all its processes at one moment; where that was asked for, on Linux


def pin() -> None:
    """Keep this process on the client's core, where the platform can do that."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # there is no such core, or it is not ours
            os.sched_setaffinity(0, {CLIENT_CORE})


class Watch(threading.Thread):
    """Looks every few milliseconds how much memory a process and its children hold together (Linux only)."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak_mib = float("nan")

    def run(self) -> None:
        """Look until the process has ended."""
        try:
            while True:
                children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
                held = sum(map(self._resident, [str(self.pid), *children]))
                self.peak_mib = held if self.peak_mib != self.peak_mib else max(held, self.peak_mib)
                time.sleep(WATCH_EVERY_S)
        except OSError:
            return

    @staticmethod
    def _resident(pid: str) -> float:
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20
        except (OSError, IndexError):  # it has just ended
            return 0.0


def measure(variant: Variant, *, together: bool = False) -> Measurement:
    """Run a command once. Its standard output is thrown away; a failure ends the benchmark.

    ``together``: watch the memory of all its processes too, which takes a little of the processor.

    Compiled modules are kept, as they are where bulkid is installed: to compile them at each start takes 0.3 s.
    """
    command = [*variant.command, *variant.prepare()]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**environment, "NO_PROXY": "127.0.0.1", **variant.environment}
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    watch = Watch(process.pid)
    if together:
        watch.start()
    if hasattr(os, "wait4"):
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = code = os.waitstatus_to_exitcode(status)
        peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        measured = Measurement(wall, used.ru_utime + used.ru_stime, peak, watch.peak_mib)
    else:  # Windows tells of a child's CPU and memory only while it lives
        code = process.wait()
        measured = Measurement(time.perf_counter() - started, float("nan"), float("nan"))
    if code not in variant.exits:
        sys.exit(f"{variant.name}: exit code {code} from {' '.join(command)}")
    variant.check()
    return measured


def alternate(
    variants: Sequence[Variant], runs: int, *, warm_up: int = 0, one_core: bool = True
) -> dict[str, list[Measurement]]:
    """Measure the variants in turn, ``runs`` times each; the warm-up rounds before that do not count.

    ``one_core``: keep them on the client's core; else they may use the server's too, while it has nothing to do.
    """
    if one_core:
        pin()  # children inherit it
    for variant in [*variants] * warm_up:
        measure(variant)
    found: dict[str, list[Measurement]] = {variant.name: [] for variant in variants}
    for number in range(runs):
        # every second round the other way about, so that neither always comes first after a pause
        for variant in variants if number % 2 == 0 else reversed(variants):
            found[variant.name].append(measure(variant))
            print(f"  {variant.name}: {found[variant.name][-1].wall_s:.3f} s", file=sys.stderr)
    return found


def table(found: Mapping[str, Sequence[Measurement]], *, requests: int = 0) -> str:
    """The medians (and the spread of the wall clock) as markdown."""
    per_request = " CPU per request |" if requests else ""
    lines = [f"| | wall | from - to | CPU |{per_request} peak memory |", "| --- " * (6 if requests else 5) + "|"]
    for name, measured in found.items():
        walls = [each.wall_s for each in measured]
        cpu = statistics.median(each.cpu_s for each in measured)
        cells = [name, f"{statistics.median(walls):.3f} s", f"{min(walls):.3f} - {max(walls):.3f}", f"{cpu:.3f} s"]
        cells += [f"{cpu / requests * 1e6:.0f} us"] if requests else []
        cells.append(f"{statistics.median(each.peak_mib for each in measured):.0f} MiB")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratios(found: Mapping[str, Sequence[Measurement]], of: str, to: str) -> str:
    """How ``of`` compares with ``to``, pair by pair: median and range, of wall clock and of CPU."""
    parts = []
    for label, key in (("wall", "wall_s"), ("CPU", "cpu_s")):
        pairs = zip(found[of], found[to], strict=True)
        each = sorted(getattr(one, key) / getattr(other, key) for one, other in pairs)
        parts.append(f"{label} {statistics.median(each):.3f} ({each[0]:.3f} - {each[-1]:.3f})")
    return f"{of} / {to}, pair by pair: {', '.join(parts)}"


@contextlib.contextmanager
def server(accounts: int, *options: str) -> Iterator[str]:
    """The benchmark's server in a process of its own, on its own core; yields the identity base URL."""
    command = [
        sys.executable,
        str(HERE / "fast_server.py"),
        "--accounts",
        str(accounts),
        "--core",
        str(SERVER_CORE),
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            word, _, url = process.stdout.readline().strip().partition(" ")
            if word != "ready":
                sys.exit("The server did not start.")
            yield url
        finally:
            process.terminate()


def ask(url: str, path: str, method: str = "GET") -> dict[str, Any]:
    """Call ``/_reset`` or ``/_stats`` of the server at ``url``."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback, whatever the environment says
    request = urllib.request.Request(url.rpartition("/")[0] + path, method=method)  # noqa: S310 - our own server
    with opener.open(request, timeout=60) as response:
        return dict(json.load(response))


def reset(url: str) -> None:
    """Put the server's directory back as it was made."""
    ask(url, "/_reset", "POST")


def expect_changed(url: str, accounts: int) -> None:
    """End the benchmark unless the server's own state says that so many accounts changed, by one PUT each."""
    stats = ask(url, "/_stats")
    if stats["changed"] != accounts or stats["served"]["PUT"] != accounts:
        sys.exit(f"{accounts} accounts should have changed by one PUT each, but the server says {stats}")
