"""``undo`` of runs that created and deleted accounts, and plan files with such changes."""

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bulkid import runs
from tests.support.bulkid_command import SECRET, connected_to, crash
from tests.support.command_output import all_text, assert_clear, summary_of
from tests.support.sandbox_host import Hosted, hosted
from tests.support.server_state import id_of, state_of
from tests.support.sheets import sheet_of

SHEET = (
    ("name", "display name", "groups to add", "action"),
    ("bot-1", "Bot 1", "Finance; Newcomers", "create"),
    ("bot-2", "", "", "create"),
    ("robot-0001", "Alpha", "Newcomers", ""),
    ("robot-0002", "", "", "delete"),
)
NAMES = ("bot-1", "bot-2", "robot-0001", "robot-0002")


@pytest.fixture
def host() -> Iterator[Hosted]:
    with hosted(accounts=20, list_everyone=True) as started:
        yield started


def by_name(host: Hosted) -> dict[str, tuple[str, frozenset[str]]]:
    return {name: (display_name, groups) for name, display_name, groups in state_of(host).values()}


def statuses_of(report: list[dict[str, str]]) -> dict[str, str]:
    return {row["name"]: row["error_code"] or row["status"] for row in report}


def test_creations_are_deleted_with_leave_and_deletions_named_or_made_again(tmp_path: Path, host: Hosted) -> None:
    sheet_of(tmp_path, SHEET)
    bulkid, before, deleted = connected_to(tmp_path, host.url), by_name(host), id_of(host, "robot-0002")
    done = bulkid("run", "sheet.csv", "--yes", "--json", "--create-groups", "--allow-delete")
    assert done.returncode == 0, all_text(done)
    first = summary_of(done)["run_id"]
    assert statuses_of(bulkid.report(first)) == dict(
        zip(NAMES, ("created", "created", "updated", "deleted"), strict=True)
    )
    after = by_name(host)

    left = bulkid("undo", first, "--yes", "--json")
    assert left.returncode == 1
    assert 'The group "Newcomers", which the run created, stays.' in left.stderr
    assert "--allow-delete" in left.stderr
    assert statuses_of(bulkid.report(summary_of(left)["run_id"])) == dict(
        zip(NAMES, ("deletion_not_allowed", "deletion_not_allowed", "updated", "deletion_not_undone"), strict=True)
    )
    assert by_name(host) == {**after, "robot-0001": before["robot-0001"]}

    created = host.sandbox.state.account_named("bot-2")
    created.display_name = "Taken over"
    some = bulkid("undo", first, "--yes", "--json", "--allow-delete")
    assert some.returncode == 1
    assert statuses_of(bulkid.report(summary_of(some)["run_id"])) == dict(
        zip(NAMES, ("deleted", "changed_since", "unchanged", "deletion_not_undone"), strict=True)
    )
    assert "bot-1" not in by_name(host)
    created.display_name = None

    assert_clear(bulkid("undo", first, "--yes", "--allow-delete", "--max-delete", "0"), 2, "The plan deletes 1 account")
    back = bulkid("undo", first, "--yes", "--json", "--allow-delete", "--recreate")
    assert back.returncode == 0, all_text(back)
    assert by_name(host) == before
    assert id_of(host, "robot-0002") != deleted
    assert_clear(bulkid("undo", summary_of(some)["run_id"], "--yes"), 2, "cannot be undone", '"bot-1"', "--recreate")
    assert json.loads(bulkid("runs", "--json").stdout)[0]["run_id"] == summary_of(back)["run_id"]


def random_rows(chance: random.Random, host: Hosted) -> list[tuple[str, ...]]:
    """Creations, some of them of accounts that exist; deletions and updates."""
    groups = [*(group.name for group in host.sandbox.state.groups.values() if group.type == "custom"), "Newcomers"]
    quoted = ['"{}"'.format(name.replace('"', '""')) for name in groups]
    known = chance.sample([account.name for account in host.sandbox.state.accounts.values()], 18)
    deleted, updated, met = known[:6], known[6:15], known[15:]
    rows = [(name, "", "", "delete") for name in deleted]
    for name, action in (
        *((name, "update") for name in updated),
        *((name, "create") for name in (*met, *(f"bot-{number}" for number in range(9)))),
    ):
        some = "; ".join(chance.sample(quoted, chance.randint(0, 3)))
        rows.append((name, chance.choice(["", f"New {chance.random()}"]), some, action))
    chance.shuffle(rows)
    return rows


def without_answers(folder: Path) -> None:
    """Make every other item of the run in the journal one whose request may have left, and of which no answer came."""
    with closing(sqlite3.connect(folder / "state" / "bulkid.db")) as database, database:
        database.execute(
            "update entries set account_id = '' "
            "where status = 'created' and entry % 2 and run = (select max(run) from runs)"
        )
        lost = database.execute(
            "update entries set status = 'pending' where status in ('updated', 'created', 'deleted') and entry % 2 "
            "and run = (select max(run) from runs)"
        )
        assert lost.rowcount


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 20))])
async def test_for_any_sheet_the_undo_gives_the_accounts_before_but_for_new_ids(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    with hosted(accounts=40, seed=seed + 1, list_everyone=chance.random() < 0.5) as host:
        path = sheet_of(tmp_path, [SHEET[0], *random_rows(chance, host)])
        target = runs.Target(url=host.url, client_id="sandbox", client_secret=SECRET)
        context = runs.Context(state_dir=tmp_path / "state")
        options = runs.RunOptions(
            report_dir=tmp_path / "reports", yes_really=True, create_groups=True, allow_delete=True
        )

        async def undone(run_id: str) -> str:
            result = await runs.undo(run_id, target, options, context, recreate=True)
            assert (result.exit_code, result.error) == (0, None), result.summary
            return str(result.run.run_id)

        before = by_name(host)
        done = await runs.run(path, target, options, context)
        assert (done.exit_code, done.error) == (0, None), done.summary
        after = by_name(host)
        first = await undone(done.run.run_id)
        assert by_name(host) == before
        await undone(first)
        assert by_name(host) == after
        await undone("last")
        assert by_name(host) == before
        again = await runs.run(path, target, options, context)
        assert by_name(host) == after
        without_answers(tmp_path)
        await undone(again.run.run_id)
        assert by_name(host) == before


def test_an_undo_that_was_interrupted_is_resumed_with_what_it_was_allowed(tmp_path: Path, host: Hosted) -> None:
    sheet_of(tmp_path, SHEET)
    bulkid, before = connected_to(tmp_path, host.url), by_name(host)
    assert bulkid("run", "sheet.csv", "--yes", "--quiet", "--create-groups", "--allow-delete").returncode == 0
    for stage in ("connect", "send"):
        crash(bulkid, stage, "undo", "last", "--yes", "--allow-delete", "--recreate")
        resumed = bulkid("resume", "--yes", "--json")
        assert resumed.returncode == 0, all_text(resumed)
        assert by_name(host) == before
        assert bulkid("undo", "last", "--yes", "--quiet", "--allow-delete", "--recreate").returncode == 0
        assert "bot-1" in by_name(host)


def test_a_plan_file_creates_and_deletes_exactly_once(tmp_path: Path, host: Hosted) -> None:
    sheet_of(tmp_path, SHEET)
    bulkid, before = connected_to(tmp_path, host.url), by_name(host)
    planned = bulkid("plan", "sheet.csv", "--out", "plan.json", "--create-groups", "--allow-delete")
    assert planned.returncode == 0, all_text(planned)
    assert by_name(host) == before
    refused = bulkid("run", "--plan", "plan.json", "--yes", "--json")
    assert refused.returncode == 2
    assert statuses_of(bulkid.report(summary_of(refused)["run_id"])) == {
        **dict.fromkeys(NAMES, "pending"),
        "robot-0002": "deletion_not_allowed",
    }
    done = bulkid("run", "--plan", "plan.json", "--yes", "--json", "--allow-delete")
    assert done.returncode == 0, all_text(done)
    after = by_name(host)
    newcomers = host.sandbox.state.group_named("Newcomers").id
    assert newcomers == json.loads((tmp_path / "plan.json").read_bytes())["new_groups"][0]["id"]
    assert newcomers in after["bot-1"][1] & after["robot-0001"][1]
    assert "robot-0002" not in after
    again = bulkid("run", "--plan", "plan.json", "--yes", "--json", "--allow-delete")
    assert (again.returncode, summary_of(again)["unchanged"]) == (0, 4)
    assert by_name(host) == after
