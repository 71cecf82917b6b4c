"""A drop folder with its state and a simulated server."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bulkid.clock import SystemClock
from bulkid.runs import (
    Context,
    DropFolder,
    Hooks,
    Job,
    JobResult,
    PostRunOptions,
    RunOptions,
    Target,
    list_runs,
    run_job,
)
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox
from tests.support.fake_clock import run


def drop(folder: Path, name: str, content: str = "x", age_s: int = 0) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    os.utime(path, (1_700_000_000 - age_s,) * 2)
    return path


class Inbox:
    """A drop folder, its state, and a simulated server, all in this process."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "in"
        self.folder.mkdir()
        self.options = RunOptions(report_dir=root / "reports")
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def sheet(self, name: str, tag: str, rows: int = 3, age_s: int = 0) -> None:
        lines = "".join(f"robot-{number:04d},{tag} {number}\n" for number in range(1, rows + 1))
        drop(self.folder, name, f"name,display_name\n{lines}", age_s)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.notes.append(text)

    async def work(self, server: Sandbox, **more: Any) -> JobResult:
        hooks = Hooks()
        hooks.note = self.notes.append  # type: ignore[method-assign]
        hooks.warn = self._warn  # type: ignore[method-assign]
        target = Target(url=server.url, client_id="sandbox", client_secret=more.pop("secret", "sandbox-secret"))
        source = DropFolder(self.folder, more.pop("glob", "*"), settle_s=0)
        after = more.pop("after", PostRunOptions())
        job = Job(name=more.pop("name", "drop"), source=source, target=target, options=self.options, **more)
        return await run_job(job, Context(state_dir=self.root / "state", hooks=hooks, clock=SystemClock(), after=after))

    def places(self) -> dict[str, list[str]]:
        """Which files lie where: those that were dropped, without dates and without what lies beside them."""
        found: dict[str, list[str]] = {}
        for path in sorted(self.folder.rglob("*")):
            companion = path.name.endswith((".report.csv", ".retry.csv", ".error.txt"))
            if path.is_file() and not companion and not path.name.startswith("."):
                place = path.parent.relative_to(self.folder).as_posix()
                name = path.name[11:] if place in {"archive", "failed"} else path.name
                found.setdefault(place, []).append(name)
        return found

    def runs(self) -> Counter[str]:
        return Counter(Path(record.source).name for record, _ in list_runs(self.root / "state"))


def served(work: Callable[[Sandbox], Any], **options: Any) -> None:
    async def main() -> None:
        async with Sandbox(SandboxOptions(**{"accounts": 20, "limits": (), **options})) as server:
            await work(server)

    run(main)


def names(server: Sandbox) -> dict[str, str | None]:
    return {account.name: account.display_name for account in server.state.accounts.values()}
