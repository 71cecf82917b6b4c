"""Group requests are chosen only where they save requests, those that read accounts back included."""

from pathlib import Path

from bulkid.identity.tokens import TokenClaims
from tests.support.life_server import ORG, LifeServer, go_on, journal_run, statuses, wanted

PAGE = 1000


def sent(folder: Path, *numbers: int) -> LifeServer:
    """Let some accounts of an organisation of twelve pages join a group."""
    server = LifeServer(groups={"g-1": "Finance"})
    server.claims = TokenClaims(ORG, frozenset({"PM.RobotAccount", "PM.Group"}), None)
    ids = [server.add(f"robot-{number:05}", "Robot") for number in range(12 * PAGE)]
    states = [wanted(f"robot-{number:05}", account_id=ids[number], add=["g-1"]) for number in numbers]
    run_id = journal_run(folder, states, quota=())
    assert go_on(folder, server).exit_code == 0
    assert set(statuses(folder, run_id).values()) == {"updated"}
    return server


def test_accounts_that_are_looked_up_one_by_one_go_by_account_since_each_would_be_looked_up_twice(
    tmp_path: Path,
) -> None:
    server = sent(tmp_path, *range(1500, 12 * PAGE, 2 * PAGE))
    assert (server.count("PUT", "Group"), server.count("PUT", "RobotAccount")) == (0, 6)
    assert server.count("GET") == 8  # the groups, a page and six accounts


def test_accounts_that_one_page_shows_go_by_group(tmp_path: Path) -> None:
    server = sent(tmp_path, *range(6))
    assert (server.count("PUT", "Group"), server.count("PUT", "RobotAccount")) == (1, 0)
