"""Many simulated organisations in one process, each with its own address, quota and accounts. Loopback only.

Prints one address per line, then ``ready``, and serves until it is ended. What it counted is printed at the end: PUTs,
and how many of all requests were answered 429.
"""

import argparse
import contextlib
import os
import signal
import sys

import anyio

from bulkid.sandbox.options import SandboxOptions, parse_limits
from bulkid.sandbox.server import Sandbox


def organization(number: int) -> str:
    """The id of an organisation, by its number."""
    return f"{number:08d}-0000-4000-8000-000000000000"


async def serve(count: int, accounts: int, limits: str) -> None:
    """Serve until SIGTERM."""
    async with contextlib.AsyncExitStack() as stack:
        served = []
        for number in range(count):
            options = SandboxOptions(
                accounts=accounts, organization_id=organization(number), limits=parse_limits(limits), log_size=0
            )
            sandbox = await stack.enter_async_context(Sandbox(options))
            served.append(sandbox)
            print(sandbox.url, flush=True)
        print("ready", flush=True)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                break
        puts = sum(times for each in served for (method, status), times in each.served.items() if method == "PUT")
        refused = sum(times for each in served for (_, status), times in each.served.items() if status == 429)
        renamed = sum(
            (account.display_name or "").startswith("Renamed")
            for each in served
            for account in each.state.accounts.values()
        )
        print(f"{puts} {refused} {renamed}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--organisations", type=int, default=200)
    parser.add_argument("--accounts", type=int, default=320)
    parser.add_argument("--limits", default="PUT=160/60")
    parser.add_argument("--core", type=int)
    arguments = parser.parse_args()
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if arguments.core is not None and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # there is no such core
            os.sched_setaffinity(0, {arguments.core})
    anyio.run(serve, arguments.organisations, arguments.accounts, arguments.limits)
    sys.exit(0)
