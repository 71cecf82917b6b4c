"""The embedded sandbox: one that lives as long as a command (``--sandbox``), and one that serves until stopped."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from bulkid.cli.signals import stopping
from bulkid.engine import Stop
from bulkid.errors import UsageError
from bulkid.model import QuotaRule
from bulkid.runs import RunOptions, Target

if TYPE_CHECKING:
    from bulkid.sandbox import SandboxOptions


@asynccontextmanager
async def with_sandbox(
    target: Target, options: RunOptions, *, use_sandbox: bool
) -> AsyncIterator[tuple[Target, RunOptions]]:
    """Start a sandbox where it is asked for, and point target and quota at it for as long as the block runs."""
    if not use_sandbox:
        yield target, options
        return
    from bulkid.sandbox import Sandbox, SandboxOptions

    own = SandboxOptions()
    async with Sandbox(own) as server:
        quota = own.limits if options.quota is None else options.quota
        yield (
            Target(
                url=server.url,
                client_id=own.client_id,
                client_secret=own.client_secret,
                organization_id=own.organization_id,
            ),
            replace(options, quota=quota, sandbox=True),
        )


async def serve(out: Console, options: "SandboxOptions", host: str, port: int) -> None:
    """Serve a sandbox until a signal comes, and say how to use it.

    Raises:
        UsageError: The address cannot be listened on, or an account to poison is not there.
    """
    from bulkid.sandbox import run_server

    def print_address(url: str) -> None:
        out.print(f"Sandbox with {options.accounts} robot accounts: {url}")
        out.print(f"  BULKID_URL={url}")
        out.print(f"  BULKID_CLIENT_ID={options.client_id}")
        out.print(f"  BULKID_CLIENT_SECRET={options.client_secret}")
        out.print(f"  limits: {_rules(options.limits)}   (Ctrl+C ends it)")

    stop = Stop()
    try:
        with stopping(stop, lambda _: None):  # a signal is the way to end it, which needs no words
            await run_server(options, host, port, print_address, until=stop.wait)
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.", hint="Choose another --port, or 0 for any."
        ) from None
    except ValueError as error:
        raise UsageError(f"The sandbox cannot be set up so: {error}") from None


def _rules(rules: tuple[QuotaRule, ...]) -> str:
    return ", ".join(f"{rule.method}={rule.count}/{rule.seconds:g}" for rule in rules) or "none"
