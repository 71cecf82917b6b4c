"""An Identity Server on a real socket whose responses a test writes, for what no sandbox option covers."""

import csv
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from aiohttp import web

from bulkid import runs

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
Answer = tuple[int, Any]


def account(account_id: str, name: str = "", display_name: str = "Old", groups: Iterable[str] = ()) -> dict[str, Any]:
    return {
        "id": account_id,
        "name": name or f"robot-{account_id}",
        "displayName": display_name,
        "groupIds": list(groups),
    }


class Identity:
    """Accounts, and what the server says of them. A test replaces whichever of the methods it is about.

    Args:
        accounts: What there is, in any order.
        page_size: What a page holds at most.
    """

    def __init__(self, accounts: Iterable[dict[str, Any]] = (), page_size: int = 1000) -> None:
        self.accounts = {each["id"]: each for each in accounts}
        self.page_size = page_size
        self.asked: list[str] = []  # method and path, without the organisation
        self.url = ""

    # --- what a test replaces

    def on_page(self, skip: int, top: int, term: str) -> Answer:
        listed = sorted(self.accounts.values(), key=lambda each: each["name"].lower())
        found = [each for each in listed if term.lower() in each["name"].lower()]
        return 200, {"totalCount": len(found), "results": found[skip : skip + min(top, self.page_size)]}

    def on_get(self, account_id: str) -> Answer:
        found = self.accounts.get(account_id)
        return (404, {"message": "There is none."}) if found is None else (200, found)

    def on_put(self, account_id: str, body: dict[str, Any]) -> Answer:
        found = self.accounts.get(account_id)
        if found is None:
            return 404, {"message": "There is none."}
        self.apply(account_id, body)
        return 200, found

    def on_group_put(self, group_id: str, body: dict[str, Any]) -> Answer:
        for account_id in body["directoryUserIDsToAdd"]:
            groups = self.accounts[account_id]["groupIds"]
            groups.extend([group_id] if group_id not in groups else [])
        for account_id in body["directoryUserIDsToRemove"]:
            groups = self.accounts[account_id]["groupIds"]
            groups[:] = [group for group in groups if group != group_id]
        return 200, {"id": group_id, "name": body["name"]}

    # --- what it does

    def apply(self, account_id: str, body: dict[str, Any]) -> None:
        found = self.accounts[account_id]
        found["displayName"] = body.get("displayName")
        kept = [group for group in found["groupIds"] or () if group not in body["groupIDsToRemove"]]
        found["groupIds"] = [*kept, *(group for group in body["groupIDsToAdd"] if group not in kept)]

    def count(self, method: str) -> int:
        return sum(line.startswith(method) for line in self.asked)

    async def serve(self, request: web.Request) -> web.Response:
        path = request.raw_path.partition("?")[0].removeprefix("/identity/api/")
        parts = [unquote(part) for part in path.split("/") if part != ORG]
        self.asked.append(f"{request.method} {'/'.join(parts)}?{request.query_string}".rstrip("?"))
        if parts[0] == "Group" and request.method == "PUT":
            status, body = self.on_group_put(parts[1], await request.json())
        elif parts[0] == "Group":
            status, body = 200, [{"id": "g-all", "name": "Everyone", "type": "builtIn"}, {"id": "g-fin", "name": "Fin"}]
        elif request.method == "PUT":
            status, body = self.on_put(parts[1], await request.json())
        elif len(parts) > 1:
            status, body = self.on_get(parts[1])
        else:
            query = request.query
            status, body = self.on_page(int(query["skip"]), int(query["top"]), query.get("searchTerm", ""))
        return web.json_response(body, status=status)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Self]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.serve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/identity"
        try:
            yield self
        finally:
            await runner.cleanup()

    @property
    def target(self) -> runs.Target:
        return runs.Target(url=self.url, access_token="1234", organization_id=ORG)


def sheet(folder: Path, headers: Sequence[str], rows: Iterable[Sequence[str]], name: str = "sheet.csv") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([headers, *rows])
    return path


def options(folder: Path, **more: Any) -> runs.RunOptions:
    return runs.RunOptions(report_dir=folder / "reports", **{"max_attempts": 1, "yes_really": True, **more})


def context(folder: Path, **more: Any) -> runs.Context:
    return runs.Context(state_dir=folder / "state", **more)


def report(result: runs.RunResult) -> list[dict[str, str]]:
    with Path(result.summary["report"]).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
