import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.chromium import launched, read_axe, usable
from tests.support.web_console import World, world


@pytest_asyncio.fixture
async def console(tmp_path: Path) -> AsyncIterator[World]:
    """A console on a sandbox without limits, and a browser that is in.

    It lives in a task of its own: a task group must be left by the task that entered it, and a fixture is taken down
    by another than the one that set it up.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[World] = loop.create_future()
    done = asyncio.Event()

    async def live() -> None:
        async with world(tmp_path) as made:
            ready.set_result(made)
            await done.wait()

    task = loop.create_task(live())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    yield ready.result()
    done.set()
    await task


@pytest.fixture(scope="session")
def _chromium() -> Iterator[tuple[Any, Any]]:
    with launched() as made:
        yield made


@pytest.fixture
def chromium(_chromium: tuple[Any, Any]) -> Iterator[Any]:
    """The browser of this process of tests; the contexts that a test opens are closed after it."""
    with usable(_chromium) as browser:
        yield browser


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    return read_axe()
