"""SIGKILL in the midst of a drop folder's work, again and again: nothing is lost, and nothing is done twice."""

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.bulkid_command import Bulkid
from tests.support.processes import Known, Life, World, journal_of, no_traceback, runs_of
from tests.support.sandbox_host import hosted

SEED = 20261
FILES = 5
ROWS = 40
LATENCY_S = 0.02

JOB = """
source = { folder = "in", glob = "*.csv", settle = 0.1 }
client_secret_env = "HUSH"
client_id = "sandbox"
yes = true
concurrency = 4
report_dir = "reports"
"""


def places(inbox: Path) -> dict[str, list[str]]:
    """Which of the dropped files lie where."""
    found: dict[str, list[str]] = {}
    for path in sorted(inbox.rglob("*.csv")):
        if not path.name.endswith((".report.csv", ".retry.csv")):
            place = path.parent.relative_to(inbox).as_posix()
            found.setdefault(place, []).append(path.name[11:] if place in {"archive", "failed"} else path.name)
    return found


def settled(journal: dict[str, dict[str, Known]]) -> set[tuple[str, str]]:
    """The run and account of everything that the journal knows the end of."""
    return {
        (run, account) for run, known in journal.items() for account, one in known.items() if one.status != "pending"
    }


@pytest.mark.slow
@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
def test_kills_of_a_job_with_five_files(kills: int, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with hosted(accounts=FILES * ROWS, latency_s=LATENCY_S) as server:
        bulkid = Bulkid(tmp_path, {"HUSH": "sandbox-secret", "BULKID_URL": server.url})
        world = World(server, bulkid, FILES * ROWS)
        inbox = tmp_path / "in"
        inbox.mkdir()
        (tmp_path / "job.toml").write_text(JOB, encoding="utf-8")
        wanted: dict[str, str] = {}
        for number in range(FILES):
            # Each file has its own accounts; the third one is bad, and must hold up none.
            accounts = world.accounts[number * ROWS : (number + 1) * ROWS]
            names = {account["id"]: f"File {number} row {row}" for row, account in enumerate(accounts)}
            lines = [f"{account_id},{name}\n" for account_id, name in names.items()]
            if number == 2:
                lines.append("no-such-account,X\n")
            else:
                wanted |= names
            (inbox / f"{number}.csv").write_text("id,display_name\n" + "".join(lines), encoding="utf-8")
            time.sleep(0.01)  # so that their order is known

        whole = sorted(f"{number}.csv" for number in range(FILES))
        moments = Counter[str]()
        for number in range(kills):
            before, known = world.now(), settled(journal_of(bulkid))
            new = number % 5 == 4
            with Life(bulkid, "run", "job.toml", new=new) as life:
                # Half of the kills come while rows are sent; the others anywhere, some while modules are imported.
                if chance.random() < 0.5:
                    life.wait_for("send")
                    time.sleep(chance.random() * 0.3)
                else:
                    time.sleep(chance.random() + 0.3 * new)
                life.kill()
            no_traceback(life.said)
            moments[list(life.began)[-1] if life.began else "start"] += 1
            # Every file is in exactly one place, at every moment.
            assert sorted(name for names in places(inbox).values() for name in names) == whole
            world.settle(LATENCY_S)
            check_nothing_settled_was_sent(world, before, known, wanted)

        before, known = world.now(), settled(journal_of(bulkid))
        done = bulkid("run", "job.toml")
        assert done.returncode in {0, 2}, done.stderr
        check_nothing_settled_was_sent(world, before, known, wanted)

        assert len(moments) > 1, moments  # the kills came at different stages
        assert places(inbox) == {"archive": ["0.csv", "1.csv", "3.csv", "4.csv"], "failed": ["2.csv"]}
        assert wanted.items() <= world.names().items()
        rows_of_runs = [run["rows"] for run in runs_of(bulkid)]
        assert sorted(rows_of_runs) == [ROWS] * 4 + [ROWS + 1]  # one run for each file, however often gone on with
        for number in (0, 1, 3, 4):
            (report,) = (inbox / "archive").glob(f"*_{number}.report.csv")
            rows = report.read_text(encoding="utf-8-sig").splitlines()[1:]
            assert len(rows) == ROWS
            assert all(",updated," in row for row in rows)


def check_nothing_settled_was_sent(
    world: World, since: int, known: set[tuple[str, str]], wanted: dict[str, str]
) -> None:
    """No account whose outcome was journaled before has had another PUT, and none of the bad file had any."""
    again = world.puts(since)
    assert not {account for _, account in known} & set(again)
    assert set(again) <= set(wanted)
    assert set(again.values()) <= {1}
