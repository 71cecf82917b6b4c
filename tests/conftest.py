"""Property tests draw new examples each time on a developer's machine, and the same ones each time in CI."""

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.examples import SOAK

# The tests start some two hundred processes: without stored bytecode each of them would compile the package again, and
# each worker all the tests. The workers and processes take this from here.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Journals are written to the disk at every step, and the tests write thousands of them: where the system has a folder
# in memory that is large enough and where this user may write (in a new root of debootstrap only root may), pytest's
# temporary folders are there. A process that is killed leaves the same files on either.
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a folder there that only this user may enter
if IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > 2 * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))

settings.register_profile("fresh", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile(SOAK, deadline=None, max_examples=1000)
settings.load_profile("repeatable" if os.environ.get("CI") else "fresh")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Start two workers for each core: for a third of their time they wait for processes, quotas and browsers."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None  # xdist reads it
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 * cores


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the packages whose tests take seconds each, so that short tests fill the end."""
    first = ("web", "e2e", "benchmarks", "cli", "journal")
    items.sort(key=lambda item: next((n for n, name in enumerate(first) if name in item.path.parts), len(first)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[object]:
    """Search for garbage not at all while modules are imported, and less often later.

    Garbage that fits into the processor's cache takes half the time of what piles up for longer. Nothing is frozen:
    Hypothesis asks the collector who refers to its generator of random numbers, and would not find a frozen owner.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.set_threshold(10_000, 50, 50)
        gc.enable()


def pytest_unconfigure() -> None:
    """End the thread that has served the sandboxes of the tests; the process that only hands out tests has none."""
    sandbox_host = sys.modules.get("tests.support.sandbox_host")
    if sandbox_host is not None:
        sandbox_host.end_serving()
