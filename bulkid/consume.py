"""Going through a list that is not needed any more, so that its items take no memory once they were read."""

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


def consume(items: list[T]) -> Iterator[T]:
    """Give each item in its order and remove it from the list, which is empty in the end.

    While an item is taken the others stand in the list in reverse.
    """
    items.reverse()
    while items:
        yield items.pop()
