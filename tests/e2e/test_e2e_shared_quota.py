"""Processes that share one quota: together they use all of it, never exceed it, and each gets a share."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkid.sandbox.options import parse_limits
from tests.support.bulkid_command import ROOT, end_of
from tests.support.forked_command import start_program
from tests.support.postgres_server import shared_server
from tests.support.processes import bulkid_for, most_in_any_window
from tests.support.sandbox_host import hosted

PER_WINDOW, WINDOW_S = 20, 1.0
EACH = 60

_SEND = """
import json, pathlib, sys
import anyio
from bulkid import runs
from bulkid.engine.signals import Stop
from bulkid.engine.task import Task
from bulkid.identity.endpoints import put_account
from bulkid.journal.store import open_journal
from bulkid.model import Account, Change, QuotaRule
from bulkid.runs.execution.connection import connect

async def main(url, folder, database, owner, count, seconds, accounts):
    target = runs.Target(url=url, client_id="sandbox", client_secret="sandbox-secret")
    options = runs.RunOptions(quota=(QuotaRule("PUT", int(count), float(seconds)),))
    context = runs.Context(state_dir=pathlib.Path(folder), database_url=database)
    settled = []
    with open_journal(context.state_dir, database) as journal:
        async with connect(target, options, journal, context, owner=owner) as session:
            await session.identify()
            print("ready", flush=True)
            await anyio.to_thread.run_sync(sys.stdin.read)
            name = f"{owner} was here"
            changes = [Change(account, "", (name,), True, (), (), None) for account in json.loads(accounts)]
            async def chunks():
                yield [Task(number, put_account(session.organization_id, each)) for number, each in enumerate(changes)]
            await session.engine.run(chunks(), settled.append, Stop())
    print(json.dumps([reply.reply.status for reply in settled]))

anyio.run(main, *sys.argv[1:])
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
        return
    with shared_server().database() as url:
        yield url


@pytest.mark.slow
def test_two_processes_share_one_quota_without_a_refusal_and_to_equal_parts(tmp_path: Path, database: str) -> None:
    limit = f"PUT={PER_WINDOW}/{WINDOW_S:g}"
    with hosted(accounts=3 * EACH, limits=parse_limits(limit)) as server:
        env = bulkid_for(server, tmp_path).settings()
        accounts = [account["id"] for account in server.accounts()]
        begin, release = os.pipe()
        started = [
            start_program(
                _SEND,
                (
                    *(server.url, str(tmp_path / "state"), database, owner),
                    *(str(PER_WINDOW), str(WINDOW_S), json.dumps(mine)),
                ),
                folder=ROOT,
                env=env,
                stdin=begin,
            )
            for owner, mine in (("one", accounts[:EACH]), ("two", accounts[EACH : 2 * EACH]))
        ]
        os.close(begin)
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        os.close(release)
        ended = [end_of(process) for process in started]
        puts = [entry for entry in server.log() if entry["method"] == "PUT"]
    assert [process.returncode for process in ended] == [0, 0], ended
    assert [json.loads(process.stdout) for process in ended] == [[200] * EACH] * 2
    assert {entry["status"] for entry in puts} == {200}
    assert len(puts) == 2 * EACH
    arrivals = [entry["arrived"] for entry in puts]
    assert most_in_any_window(arrivals, WINDOW_S) <= PER_WINDOW
    first_part = [entry["account"] in set(accounts[:EACH]) for entry in puts[PER_WINDOW:EACH]]
    assert abs(sum(first_part) - len(first_part) / 2) <= 0.15 * len(first_part), (
        "to equal parts, from the second window on"
    )
