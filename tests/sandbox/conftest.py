"""Fixtures: sandboxes, each with a client."""

from collections.abc import AsyncIterator

import pytest

from tests.support.sandbox_talk import Talk, Talking, talk_to_sandbox


@pytest.fixture
def talking() -> Talking:
    """For sandboxes with options of their own."""
    return talk_to_sandbox


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    """A client for a sandbox of sixty accounts without limits or faults."""
    async with talk_to_sandbox() as one:
        yield one
