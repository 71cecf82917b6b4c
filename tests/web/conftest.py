import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp_jinja2
import jinja2
import pytest
import pytest_asyncio
from jinja2.bccache import Bucket

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


class _Compiled(jinja2.BytecodeCache):
    """Templates that were compiled in this process."""

    def __init__(self) -> None:
        self.code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.code:
            bucket.bytecode_from_string(self.code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.code[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def _templates_are_compiled_once() -> Iterator[None]:
    """Each console compiles its templates; those of the tests share what the first one has compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiohttp_jinja2, "setup", partial(aiohttp_jinja2.setup, bytecode_cache=_Compiled()))
        yield


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
