"""``doctor``: checks the connection step by step, and says what to do about each problem."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from bulkid.clock import iso_utc, local_time
from bulkid.errors import EXIT_CONNECTION, EXIT_USAGE, BulkidError
from bulkid.extras import MissingExtraError, require_extra
from bulkid.identity.client_assertion import read_client_assertion
from bulkid.identity.endpoints import account_page, list_accounts, list_groups, parse_groups
from bulkid.journal.errors import file_error
from bulkid.journal.group_refusals import REMEMBERED_S, GroupRefusal
from bulkid.journal.store import Journal, open_journal
from bulkid.model import ReplyKind, Request
from bulkid.notify.deliver import unusable
from bulkid.notify.recipients import Recipients
from bulkid.resources import current
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution.connection import FIRST_CONTACT_LIMIT_S, Connection, base_of, connect, tokens_of
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
    accounts: int | None = None  # how many there are, where the question is about reading them

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {"subject": self.subject, "ok": self.ok, "detail": self.detail, "hint": self.hint}


ORGANIZATION: Final = "organisation"
"""The subject of the finding whose detail is the organisation's id."""

LEAST_FREE_BYTES: Final = 20_000_000
"""Free space below which a disk is a problem: what the state and the reports of 20,000 accounts take."""

_LOGIN: Final = "login"
_READ: Final = "read accounts"
_WRITE: Final = "write accounts"


async def doctor(target: Target, options: RunOptions | None = None, context: Context | None = None) -> list[Finding]:
    """Examine state directory, address, token, organisation, scopes and quota; changes nothing.

    Names everything that is wrong with the settings before it connects; then stops at the first answer that makes the
    next questions pointless. Never raises for what it examines.
    """
    options, context = options or RunOptions(), context or Context()
    options = replace(options, outage_limit_s=min(options.outage_limit_s, FIRST_CONTACT_LIMIT_S))
    async with AsyncExitStack() as stack:
        state, journal = await _state(stack, context)
        folders = [options.report_dir] if context.database_url else [context.state_dir, options.report_dir]
        findings = [state, *await in_thread(_full_disks, folders), *await _settings(target, context)]
        if journal is None or problems_of(findings):
            return findings
        try:
            connection = await stack.enter_async_context(connect(target, options, journal, context, owner="doctor"))
            await connection.identify()
        except BulkidError as error:
            return [*findings, _problem("token", error)]
        findings.extend(await _online(connection))
    return findings


def problems_of(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that are problems."""
    return [finding for finding in findings if finding.ok is False]


def verdict(findings: Sequence[Finding]) -> str:
    """``Ready: you can read and change 6,000 accounts.``, or ``1 problem to fix.``: what the findings come to."""
    if problems := problems_of(findings):
        return f"{count_of(len(problems), 'problem')} to fix."
    accounts = next((count_of(each.accounts, "account") for each in findings if each.accounts is not None), "accounts")
    if any(finding.subject == _WRITE and finding.ok for finding in findings):
        return f"Ready: you can read and change {accounts}."
    return f"Ready: you can read {accounts}. The token does not say whether you can change them."


async def _settings(target: Target, context: Context) -> list[Finding]:
    """Check address and credentials without a request. Where the credentials can be used, the token is yet to come."""
    findings = []
    try:
        base = base_of(target)
        findings.append(Finding("address", ok=True, detail=f"{base.url} ({base.deployment.value})"))
    except BulkidError as error:
        findings.append(_problem("address", error))
    try:
        tokens_of(target, context.clock)
    except BulkidError as error:
        return [*findings, _problem("token", error)]
    return [*findings, await _login(target, context)]


async def _login(target: Target, context: Context) -> Finding:
    """Say how bulkid signs in: with what kind of credentials, and how long an assertion is valid."""
    if target.access_token:
        return Finding(_LOGIN, ok=True, detail="access token, used as it is given")
    if target.client_assertion_file is None:
        return Finding(_LOGIN, ok=True, detail="client id and secret")
    now = context.clock.now()
    try:
        assertion = await in_thread(read_client_assertion, target.client_assertion_file, now)
    except BulkidError as error:
        return _problem(_LOGIN, error)
    detail = (
        f"client id and assertion (JWT) from {target.client_assertion_file}: {_validity(assertion.expires_at, now)}"
    )
    return Finding(_LOGIN, ok=True, detail=detail)


async def _state(stack: AsyncExitStack, context: Context) -> tuple[Finding, Journal | None]:
    subject = "state database" if context.database_url else "state directory"
    try:
        journal = stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
        return Finding(subject, ok=True, detail=await in_thread(_size, journal)), journal
    except BulkidError as error:
        return _problem(subject, error), None


def _full_disks(folders: Iterable[Path]) -> list[Finding]:
    """Name each disk, once, that has too little room for a run's state or its reports."""
    findings: dict[int, Finding] = {}
    for folder in map(Path.absolute, folders):
        try:
            existing = next((each for each in (folder, *folder.parents) if each.exists()), folder)
            free = shutil.disk_usage(existing).free
            disk = existing.stat().st_dev
        except OSError as error:
            return [_problem("disk", file_error(error, folder))]
        if free < LEAST_FREE_BYTES:
            detail = f"{free / 1_000_000:.1f} MB are free on the disk of {folder}"
            hint = "A run over 20,000 accounts takes 20 MB. Free some space, or choose a folder on another disk."
            findings.setdefault(disk, Finding("disk", ok=False, detail=detail, hint=hint, exit_code=EXIT_USAGE))
    return list(findings.values())


def _problem(subject: str, error: BulkidError) -> Finding:
    return Finding(subject, ok=False, detail=error.message, hint=error.hint, exit_code=error.exit_code)


def _size(journal: Journal) -> str:
    runs = count_of(len(journal.list_runs()), "run")
    return f"{journal.database.place} ({runs}, {journal.size() / 1_000_000:.1f} MB)"


def examine_recipients(recipients: Recipients) -> list[Finding]:
    """Check that a service takes the address of each recipient; sends nothing."""
    if not recipients:
        return []
    try:
        require_extra("notify", "A notification")
    except MissingExtraError as error:
        return [_problem("notify", error)]
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
    findings = [
        Finding("token", ok=True, detail=_token(connection)),
        Finding(ORGANIZATION, ok=True, detail=connection.organization_id),
    ]
    known, scope = connection.known, current().read_scope
    accounts, groups = list_accounts(connection.organization_id, 0, 1), list_groups(connection.organization_id)
    probe = partial(_probe, connection)
    findings += [
        await probe(_READ, accounts, lambda got: account_page(got).total, known.read_accounts, scope=scope),
        await probe(
            "read groups", groups, lambda got: len(parse_groups(got)), known.read_groups, scope="PM.Group.Read"
        ),
    ]
    return [
        *findings,
        _write(known.write_accounts),
        _write_groups(known.write_groups, may_read=known.read_groups),
        *_refused(await refused_groups(connection)),
        Finding("quota", ok=None, detail=await _quota(connection)),
    ]


def _token(connection: Connection) -> str:
    claims = connection.claims
    if claims is None:
        return "used as it is given; bulkid cannot read its scopes or its end"
    return _validity(claims.expires_at, connection.context.clock.now())


def _validity(expires_at: float | None, now: float) -> str:
    """Until when a JWT is valid by its own claim."""
    if expires_at is None:
        return "valid; it names no end"
    try:
        end = local_time(expires_at, now)
    except (ValueError, OverflowError, OSError):  # a claim may hold any number
        return "valid; its end is no date"
    return f"{'valid until' if expires_at > now else 'expired at'} {end}"


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
            counted = count(reply.payload)
            return Finding(
                subject, ok=True, detail=f"yes ({counted:,})", accounts=counted if subject == _READ else None
            )
    except BulkidError as error:  # also where the answer has another shape
        return _problem(subject, error)
    # A token that claims the scope is refused as that of another organisation.
    lacks_scope = reply.kind is ReplyKind.FORBIDDEN and claimed is not True
    hint = _grant(scope) if lacks_scope else "To change this, check the organisation id and the address."
    said = f"{reply.error or reply.kind.value}" + (f" (HTTP {reply.status})" if reply.status else "")
    return Finding(subject, ok=False, detail=said, hint=hint)


def _write(claimed: bool | None) -> Finding:
    if claimed is None:
        return Finding(_WRITE, ok=None, detail="the token does not say; `bulkid run --first 1` tries")
    if claimed:
        return Finding(_WRITE, ok=True, detail="yes, by the token's scopes")
    return Finding(_WRITE, ok=False, detail="the token lacks the scope", hint=_grant(current().write_scope))


def _grant(scope: str) -> str:
    """What to do about a scope that the token lacks: the application may have it, and BULKID_SCOPE leave it out."""
    return f"Grant {scope} to the application, and name it in BULKID_SCOPE if that is set."


def _write_groups(claimed: bool | None, *, may_read: bool | None) -> Finding:
    """Worth knowing, never a problem: without group requests a run takes more PUTs and is as right."""
    if claimed and may_read is False:
        return Finding("write groups", ok=None, detail="yes, but group requests need PM.Group.Read too")
    if claimed:
        return Finding("write groups", ok=True, detail="yes, by the token's scopes: group requests save PUTs")
    said = "the token does not say" if claimed is None else "the token lacks the scope"
    hint = "With PM.Group.Write one PUT changes many accounts (group requests)"
    hint += "; `--via groups` tries." if claimed is None else "."
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
