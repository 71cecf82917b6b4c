"""Tokens that expire, are revoked, or are refused for good during a run."""

import json
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.bulkid_command import Bulkid
from tests.support.processes import Life, World, check_report, no_traceback
from tests.support.sandbox_host import hosted, wait_for_puts

CONNECTED = Callable[..., Bulkid]
LIFETIME_S = 1.0
REFRESH_S = 0.9 * LIFETIME_S
"""A token is fetched anew when a tenth of its life is left."""


@pytest.mark.slow
def test_tokens_that_live_a_second(connected: CONNECTED) -> None:
    """Five seconds of eight requests each: half of them read the directory, half change it."""
    with hosted(accounts=2000, page_cap=100, token_lifetime_s=LIFETIME_S) as server:
        world = World(server, connected(server), 2000)
        world.accounts = world.accounts[::100]
        wanted = world.sheet("short")
        ended = world.bulkid("run", "short.csv", "--yes", "--json", "--rate", "8")
        assert ended.returncode == 0, ended.stderr
        summary = json.loads(ended.stdout)
        assert wanted.items() <= world.names().items()
        assert check_report(world.bulkid, summary["run_id"], 20) == {"updated": 20}
        requests = summary["requests"]
        assert requests["GET"] >= 20
        assert requests["PUT"] == 20
        # About one token per lifetime; each request that was refused for an old one cost one try more.
        assert summary["elapsed_s"] >= 4.5
        lifetimes = summary["elapsed_s"] / REFRESH_S
        assert lifetimes / 2 <= requests["POST"] <= lifetimes + 2
        assert {line["attempts"] for line in world.bulkid.report(summary["run_id"])} == {"1"}


@pytest.mark.slow
def test_tokens_that_are_taken_back_all_the_time(connected: CONNECTED) -> None:
    with hosted(accounts=150, token_lifetime_s=LIFETIME_S) as server:
        world = World(server, connected(server), 150)
        wanted = world.sheet("taken")
        server.set_faults(expired=0.1, token_error=0.2)
        ended = world.bulkid("run", "taken.csv", "--yes", "--json")
        assert ended.returncode == 0, ended.stderr
        summary = json.loads(ended.stdout)
        assert wanted.items() <= world.names().items()
        assert check_report(world.bulkid, summary["run_id"], 150) == {"updated": 150}
        by_status = Counter(entry["status"] for entry in world.log("PUT"))
        assert by_status[200] == 150
        assert by_status[401] > 5
        # One new token serves all who were refused with the old one.
        assert summary["requests"]["POST"] < by_status[401]


@pytest.mark.slow
def test_the_secret_is_changed_meanwhile(connected: CONNECTED) -> None:
    """One clear message, and not a failed row: with the new secret the run goes on."""
    with hosted(accounts=200, latency_s=0.1) as server:
        world = World(server, connected(server), 200)
        wanted = world.sheet("rotated")
        with Life(world.bulkid, "run", "rotated.csv", "--yes", "--concurrency", "8") as life:
            wait_for_puts(server, 30)
            server.portal.call(server.sandbox.token_issuer.change_secret, "another")
            assert life.end() == 3, life.said
        no_traceback(life.said)
        assert "BULKID_CLIENT_SECRET" in life.said
        assert life.said.count("bulkid: ") == 1
        run_id = next((world.bulkid.folder / "reports").iterdir()).name
        counts = check_report(world.bulkid, run_id, 200)
        assert set(counts) == {"updated", "pending"}
        done = {entry["account"] for entry in world.log("PUT") if entry["status"] == 200}
        assert counts["updated"] == len(done)

        refused = world.bulkid("resume", "--json")  # with the old one still
        assert refused.returncode == 3, refused.stderr
        assert check_report(world.bulkid, run_id, 200) == counts

        resumed = connected(server, BULKID_CLIENT_SECRET="another")("resume")
        assert resumed.returncode == 0, resumed.stderr
        assert wanted.items() <= world.names().items()
        assert check_report(world.bulkid, run_id, 200) == {"updated": 200}
        assert Counter(entry["status"] for entry in world.log("PUT"))[200] == 200


@pytest.mark.slow
def test_a_given_token_is_taken_back_meanwhile(connected: CONNECTED) -> None:
    """It cannot be renewed here: the run stops, and goes on with another."""
    with hosted(accounts=200, static_tokens=("first",), latency_s=0.1) as server:
        env = {"BULKID_CLIENT_ID": "", "BULKID_CLIENT_SECRET": "", "BULKID_ACCESS_TOKEN": "first"}
        bulkid = connected(server, **env, BULKID_ORGANIZATION_ID="3fa85f64-5717-4562-b3fc-2c963f66afa6")
        world = World(server, bulkid, 200)
        wanted = world.sheet("static")
        with Life(world.bulkid, "run", "static.csv", "--yes", "--concurrency", "8") as life:
            wait_for_puts(server, 30)
            server.portal.call(server.sandbox.token_issuer.change_secret, "another")
            assert life.end() == 3, life.said
        no_traceback(life.said)
        assert "BULKID_ACCESS_TOKEN" in life.said
        run_id = next((world.bulkid.folder / "reports").iterdir()).name
        assert set(check_report(world.bulkid, run_id, 200)) == {"updated", "pending"}
        resumed = connected(server, BULKID_CLIENT_SECRET="another")("resume")
        assert resumed.returncode == 0, resumed.stderr
        assert wanted.items() <= world.names().items()
        assert check_report(world.bulkid, run_id, 200) == {"updated": 200}
