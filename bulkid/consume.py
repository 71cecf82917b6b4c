"""Keeps few items in memory: iterates in batches, frees the items of a list as they are read, and frees the heap."""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

_MALLOC_LIMITS = {  # parameters of mallopt(3)
    -8: 1,  # M_ARENA_MAX: threads free into the one heap that all take from
    -3: 1 << 18,  # M_MMAP_THRESHOLD, bytes: larger blocks are mapped by themselves, and go back at once
    -1: 1 << 18,  # M_TRIM_THRESHOLD, bytes at the end of the heap
}


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of ``size`` each, the last one with what is left. Python 3.12 has one of tuples."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def consume(items: list[T]) -> Iterator[T]:
    """Give each item in its order and remove it from the list, which is empty in the end.

    While an item is taken the others stand in the list in reverse.
    """
    items.reverse()
    while items:
        yield items.pop()


def limit_malloc() -> bool:
    """Have glibc keep less of the memory that was freed; tell whether it could be asked to. For a whole process.

    By itself glibc gives each thread a heap of its own and, once a large block was freed, keeps blocks of that size in
    the heap. In a run over 33,333 groups, whose list is read again and again, that is 20 MB.
    """
    mallopt = _glibc("mallopt")
    return mallopt is not None and all(mallopt(parameter, value) for parameter, value in _MALLOC_LIMITS.items())


def return_freed_memory() -> bool:
    """Give freed memory back to the system; say whether there was any.

    glibc keeps what lies below the last block in use: 23 MB after the texts of a plan file with 100,000 accounts.
    Without glibc nothing is done.
    """
    trim = _glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _glibc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None where there is another library, such as musl."""
    if sys.platform != "linux":
        return None
    import ctypes  # only a few commands need it

    return getattr(ctypes.CDLL(None), name, None)
