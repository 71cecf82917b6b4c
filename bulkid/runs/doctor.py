"""Is the connection right? One question after the other, each with what to do when the answer is no."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from bulkid.errors import EXIT_CONNECTION, BulkidError
from bulkid.identity import list_accounts, list_groups
from bulkid.journal import Journal, open_journal
from bulkid.model import ReplyKind, Request
from bulkid.runs.options import Context, RunOptions, Target
from bulkid.runs.session import Session, base_of, connect


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


async def doctor(target: Target, options: RunOptions | None = None, context: Context | None = None) -> list[Finding]:
    """Examine state directory, address, token, organisation, scopes and quota; changes nothing.

    Stops at the first answer that makes the next questions pointless. Never raises for what it examines.
    """
    options, context = options or RunOptions(), context or Context()
    findings: list[Finding] = []
    async with AsyncExitStack() as stack:
        try:
            journal = stack.enter_context(await anyio.to_thread.run_sync(open_journal, context.state_dir))
            findings.append(Finding("state directory", ok=True, detail=_state(journal, context.state_dir)))
            base = base_of(target)
            findings.append(Finding("address", ok=True, detail=f"{base.url} ({base.deployment.value})"))
            session = await stack.enter_async_context(connect(target, options, journal, context, owner="doctor"))
            await session.identify()
        except BulkidError as error:
            subjects = ("state directory", "address", "token")
            subject = subjects[len(findings)]
            findings.append(_problem(subject, error))
            return findings
        findings.extend(await _online(session))
    return findings


def _problem(subject: str, error: BulkidError) -> Finding:
    return Finding(subject, ok=False, detail=error.message, hint=error.hint, exit_code=error.exit_code)


def _state(journal: Journal, state_dir: Path) -> str:
    size = sum(path.stat().st_size for path in state_dir.iterdir() if path.is_file())
    runs = len(journal.list_runs())
    return f"{state_dir} ({runs} run{'s' if runs != 1 else ''}, {size / 1_000_000:.1f} MB)"


async def _online(session: Session) -> list[Finding]:
    findings = [
        Finding(
            "token",
            ok=True,
            detail="a JWT" if session.claims else "taken as it is; not a JWT, its scopes cannot be read",
        ),
        Finding("organisation", ok=True, detail=session.organization_id),
    ]
    known = session.known
    probes = [
        ("read accounts", known.read_accounts, "PM.RobotAccount.Read", list_accounts(session.organization_id, 0, 1)),
        ("read groups", known.read_groups, "PM.Group.Read", list_groups(session.organization_id)),
    ]
    for subject, claimed, scope, request in probes:
        findings.append(await _probe(session, subject, claimed, scope, request))
    findings.append(_write(known.write_accounts))
    findings.append(Finding("quota", ok=None, detail=await _quota(session)))
    return findings


async def _probe(session: Session, subject: str, claimed: bool | None, scope: str, request: Request) -> Finding:
    try:
        reply = (await session.engine.call(request)).reply
    except BulkidError as error:
        return _problem(subject, error)
    if reply.kind is ReplyKind.OK:
        total = reply.payload.get("totalCount") if isinstance(reply.payload, dict) else len(reply.payload)
        return Finding(subject, ok=True, detail=f"yes ({total})")
    missing = f"grant {scope}" if reply.kind is ReplyKind.FORBIDDEN else "check the organisation id and the address"
    said = f"{reply.error or reply.kind.value}" + (f" (HTTP {reply.status})" if reply.status else "")
    return Finding(
        subject, ok=False, detail=said, hint=f"To change this, {missing}." if claimed is not True else missing
    )


def _write(claimed: bool | None) -> Finding:
    if claimed is None:
        return Finding("write accounts", ok=None, detail="cannot be told without trying; `bulkid run --first 1` tries")
    if claimed:
        return Finding("write accounts", ok=True, detail="yes, by the token's scopes")
    return Finding("write accounts", ok=False, detail="the token lacks the scope", hint="Grant PM.RobotAccount.Write.")


async def _quota(session: Session) -> str:
    if not session.rules:
        return "none for this deployment"
    parts = []
    for rule in session.rules:
        used = await session.used(rule)
        parts.append(f"{rule.method}: {max(0, rule.count - used)} of {rule.count} left per {rule.seconds:g} s")
    return "; ".join(parts)
