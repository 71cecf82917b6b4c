"""Programs that use the console's JSON interface with a token."""

from typing import Any

import aiohttp
import anyio

from bulkid.web.auth.access import Principal, Role
from bulkid.web.auth.users import issue_token
from tests.support.web_console import Browser, World

ADA = Principal("ada", Role.ADMIN, "ada")


class Program:
    """A program with a token."""

    def __init__(self, console: World, role: Role = Role.OPERATOR, owner: Principal = ADA, at: float = 0.0) -> None:
        self.token = issue_token(console.console.store, "test", role, owner, at)
        self.browser: Browser = console.browser

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Send a request; gives status and JSON."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.browser.session.request(
            method, f"{self.browser.base}/api/v1{path}", headers=headers, **more
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def upload(self, content: bytes, name: str = "accounts.csv") -> tuple[int, Any]:
        """Send a sheet."""
        form = aiohttp.FormData()
        form.add_field("sheet", content, filename=name)
        return await self.ask("POST", "/sheets", data=form)

    async def previewed(self, upload: str) -> dict[str, Any]:
        """The preview of a sheet, once it is made."""
        await self.ask("POST", f"/sheets/{upload}/preview")
        with anyio.fail_after(60):
            while True:
                _, found = await self.ask("GET", f"/sheets/{upload}/preview")
                if found["state"] != "making":
                    return dict(found)
                await anyio.sleep(0.05)

    async def ended(self, run_id: str) -> dict[str, Any]:
        """A run, once it has ended."""
        with anyio.fail_after(60):
            while True:
                _, found = await self.ask("GET", f"/runs/{run_id}")
                if not found["running"]:
                    return dict(found)
                await anyio.sleep(0.05)


def program_of(console: World, operator: str) -> Program:
    """A program of an operator, who has issued its token just now."""
    return Program(console, Role.OPERATOR, Principal(operator, Role.OPERATOR, operator), console.console.clock.now())
