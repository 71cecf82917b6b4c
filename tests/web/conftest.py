import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from web_kit import World, world


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
