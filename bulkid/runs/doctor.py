"""``doctor``: checks the connection step by step, and says what to do about each problem."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bulkid.clock import iso_utc
from bulkid.errors import EXIT_CONNECTION, EXIT_USAGE, BulkidError
from bulkid.identity.endpoints import account_page, list_accounts, list_groups, parse_groups
from bulkid.journal.group_refusals import REMEMBERED_S, GroupRefusal
from bulkid.journal.store import Journal, open_journal
from bulkid.model import ReplyKind, Request
from bulkid.notify.deliver import unusable
from bulkid.notify.recipients import Recipients
from bulkid.resources import current
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution.connection import Connection, base_of, connect
from bulkid.runs.execution.planner import refused_groups
from bulkid.runs.options import Context, RunOptions, Target
from bulkid.text import count_of, quote


@dataclass(frozen=True, slots=True)
class Finding:
    """One question and its answer. ``ok`` None: worth knowing, neither right nor wrong."""

    subject: str
    ok: bool | None
    detail: str
    hint: str = ""
    exit_code: int = EXIT_CONNECTION  # what a command that meets this problem exits with

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {"subject": self.subject, "ok": self.ok, "detail": self.detail, "hint": self.hint}


ORGANIZATION: Final = "organisation"
"""The subject of the finding whose detail is the organisation's id."""


async def doctor(target: Target, options: RunOptions | None = None, context: Context | None = None) -> list[Finding]:
    """Examine state directory, address, token, organisation, scopes and quota; changes nothing.

    Stops at the first answer that makes the next questions pointless. Never raises for what it examines.
    """
    options, context = options or RunOptions(), context or Context()
    findings: list[Finding] = []
    state = "state database" if context.database_url else "state directory"
    async with AsyncExitStack() as stack:
        try:
            journal = stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
            findings.append(Finding(state, ok=True, detail=await in_thread(_state, journal)))
            base = base_of(target)
            findings.append(Finding("address", ok=True, detail=f"{base.url} ({base.deployment.value})"))
            connection = await stack.enter_async_context(connect(target, options, journal, context, owner="doctor"))
            await connection.identify()
        except BulkidError as error:
            subjects = (state, "address", "token")
            return [*findings, _problem(subjects[len(findings)], error)]
        findings.extend(await _online(connection))
    return findings


def _problem(subject: str, error: BulkidError) -> Finding:
    return Finding(subject, ok=False, detail=error.message, hint=error.hint, exit_code=error.exit_code)


def _state(journal: Journal) -> str:
    runs = count_of(len(journal.list_runs()), "run")
    return f"{journal.database.place} ({runs}, {journal.size() / 1_000_000:.1f} MB)"


def examine_recipients(recipients: Recipients) -> list[Finding]:
    """Check that a service takes the address of each recipient; sends nothing."""
    if not recipients:
        return []
    wrong = unusable(recipients)
    good = sum(1 for _ in recipients) - len(wrong)
    findings = [
        Finding("notify", ok=False, detail=f"{each.recipient}: {each.reason}", exit_code=EXIT_USAGE) for each in wrong
    ]
    if good:
        detail = f"{count_of(good, 'address', 'addresses')} that a service takes"
        findings.insert(0, Finding("notify", ok=True, detail=detail))
    return findings


async def _online(connection: Connection) -> list[Finding]:
    token = "a JWT" if connection.claims else "taken as it is; not a JWT, its scopes cannot be read"
    findings = [
        Finding("token", ok=True, detail=token),
        Finding(ORGANIZATION, ok=True, detail=connection.organization_id),
    ]
    known, scope = connection.known, current().read_scope
    accounts, groups = list_accounts(connection.organization_id, 0, 1), list_groups(connection.organization_id)
    probe = partial(_probe, connection)
    findings += [
        await probe("read accounts", accounts, lambda got: account_page(got).total, known.read_accounts, scope=scope),
        await probe(
            "read groups", groups, lambda got: len(parse_groups(got)), known.read_groups, scope="PM.Group.Read"
        ),
    ]
    return [
        *findings,
        _write(known.write_accounts),
        _write_groups(known.write_groups),
        *_refused(await refused_groups(connection)),
        Finding("quota", ok=None, detail=await _quota(connection)),
    ]


async def _probe(
    connection: Connection,
    subject: str,
    request: Request,
    count: Callable[[object], int],
    claimed: bool | None,
    *,
    scope: str,
) -> Finding:
    """Send a request that only reads. The token claims the right to it, or does not say; ``count`` reads the answer."""
    try:
        reply = (await connection.engine.call(request)).reply
        if reply.kind is ReplyKind.OK:
            return Finding(subject, ok=True, detail=f"yes ({count(reply.payload)})")
    except BulkidError as error:  # also where the answer has another shape
        return _problem(subject, error)
    missing = f"grant {scope}" if reply.kind is ReplyKind.FORBIDDEN else "check the organisation id and the address"
    said = f"{reply.error or reply.kind.value}" + (f" (HTTP {reply.status})" if reply.status else "")
    return Finding(
        subject, ok=False, detail=said, hint=f"To change this, {missing}." if claimed is not True else missing
    )


def _write(claimed: bool | None) -> Finding:
    if claimed is None:
        return Finding("write accounts", ok=None, detail="the token does not say; `bulkid run --first 1` tries")
    if claimed:
        return Finding("write accounts", ok=True, detail="yes, by the token's scopes")
    return Finding(
        "write accounts", ok=False, detail="the token lacks the scope", hint=f"Grant {current().write_scope}."
    )


def _write_groups(claimed: bool | None) -> Finding:
    """Worth knowing, never a problem: without group requests a run takes more PUTs and is as right."""
    if claimed:
        return Finding("write groups", ok=True, detail="yes, by the token's scopes: group requests save PUTs")
    said = "the token does not say" if claimed is None else "the token lacks the scope"
    hint = "With PM.Group.Write one PUT changes many accounts (group requests); `--via groups` tries."
    return Finding("write groups", ok=None, detail=said, hint=hint)


def _refused(refusals: Sequence[GroupRefusal]) -> list[Finding]:
    """Which groups are planned by account, since each has refused a PUT for good."""
    return [
        Finding(
            "group requests",
            ok=None,
            detail=f"{quote(each.name)} refused one on {iso_utc(each.refused_at)[:10]}"
            f"{f' (HTTP {each.http_status})' if each.http_status else ''}: its members go by account until "
            f"{iso_utc(each.refused_at + REMEMBERED_S)[:10]}",
        )
        for each in refusals
    ]


async def _quota(connection: Connection) -> str:
    if not connection.rules:
        return "none for this deployment"
    parts = []
    for rule in connection.rules:
        used = await connection.used(rule)
        parts.append(f"{rule.method}: {max(0, rule.count - used)} of {rule.count} left per {rule.seconds:g} s")
    return "; ".join(parts)
