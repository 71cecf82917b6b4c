"""The ledger in memory meets the contract of every ledger."""

import pytest

from tests.support.fake_clock import FakeClock
from tests.support.ledger_scenarios import SCENARIOS, Scenario
from tests.support.memory_ledger import MemoryLedger


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_the_ledger_in_memory_passes_every_scenario(scenario: Scenario) -> None:
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    await scenario(lambda: ledger, clock)
