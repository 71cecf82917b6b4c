"""The audit log: records the actions of users and programs, and what was refused to them."""

from collections.abc import Awaitable, Collection
from functools import partial
from typing import Final, Protocol, TypeVar

from aiohttp import web

from bulkid.errors import BulkidError
from bulkid.journal.console_store import AuditRecord
from bulkid.journal.names import user_key
from bulkid.logs import log
from bulkid.runs.concurrency import in_thread
from bulkid.text import printable_line
from bulkid.web.auth.access import Handler
from bulkid.web.auth.users import ExpiredTokenError
from bulkid.web.console import console_of
from bulkid.web.middleware import REFUSAL, SAFE_METHODS, client_address, principal_of, route_of
from bulkid.web.pages import PRINCIPAL, SESSION

MAX_EVENTS: Final = 10  # security events that the account page shows

_BY_USER: Final = (
    "change of a password refused",
    "signed in",
    "sign-in refused",
    "sign-in link made",
    "signed out everywhere",
    "sign-out everywhere refused",
    "session ended",
    "end of a session refused",
    "token issued",
    "token refused",
    "token revoked",
)
"""Actions of a user that are security events of that user."""

_ABOUT_USER: Final = ("password changed", "password change refused", "role changed", "user added")
"""Actions that are security events of the user who is their subject; an admin may have done them in a terminal."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_MAX_TEXT: Final = 500  # characters of a name or message that the table keeps
_REFUSED: Final = 400  # the least status of a response that refuses
_RECORDED: Final = web.RequestKey("noted", bool)  # set once a request has its entry in the audit log


async def record_action(
    request: web.Request, action: str, subject: str = "", detail: str = "", *, principal: str = ""
) -> None:
    """Record an action of a user, or its refusal.

    The action is one of a stable set of names, such as ``run started``; the subject is the run, sheet or token. Where
    there is no session yet, ``principal`` names the user. Control characters are recorded as escapes: an entry stays on
    one line, in every program that shows the log.
    """
    request[_RECORDED] = True
    entry = _entry(request, action, subject, detail, principal)
    await in_thread(console_of(request).store.add_audit_entry, entry)


class RecordedAction(Protocol[T_co]):
    """A change that writes its entry of the audit log itself."""

    def __call__(self, *, entry: AuditRecord) -> Awaitable[T_co]:
        """Make the change, and add the entry."""


async def do_recorded(
    request: web.Request,
    act: RecordedAction[T],
    action: str,
    subject: str = "",
    detail: str = "",
    *,
    principal: str = "",
) -> T:
    """Await ``act``, which writes its change and the entry in one transaction; return its result.

    If ``act`` changes nothing, it returns a false value or raises an error, and :func:`audit_requests` records the
    outcome of the request instead. For the other arguments see :func:`record_action`.
    """
    done = await act(entry=_entry(request, action, subject, detail, principal))
    if done:
        request[_RECORDED] = True
    return done


def _entry(request: web.Request, action: str, subject: str, detail: str, principal: str) -> AuditRecord:
    known = request.get(PRINCIPAL)
    name = principal or (known.name if known is not None else "")
    texts = (name, client_address(request), action, subject, detail)
    return AuditRecord(console_of(request).clock.now(), *map(_as_recorded, texts))


def _as_recorded(text: str) -> str:
    return printable_line(text[:_MAX_TEXT])[:_MAX_TEXT]


async def security_events(request: web.Request) -> list[AuditRecord]:
    """The latest entries that tell a user who has used the account, and how (OWASP ASVS 4.0 2.2.3), newest first."""
    return await _entries_of_user(request, MAX_EVENTS, _BY_USER, _ABOUT_USER)


async def last_password_change(request: web.Request) -> AuditRecord | None:
    """The entry of the last change of the user's password; None where none is kept."""
    found = await _entries_of_user(request, 1, (), ("password changed",))
    return found[0] if found else None


async def _entries_of_user(
    request: web.Request, limit: int, by: Collection[str], about: Collection[str]
) -> list[AuditRecord]:
    """The newest entries of the user of a session; those older than the user are of an earlier user of that name."""
    user = request[SESSION].record.user
    since, name = (0.0 if user is None else user.created_at), _as_recorded(principal_of(request).user)
    find = partial(console_of(request).store.audit_entries_of, by=by, about=about)
    return await in_thread(find, name, since, limit)


@web.middleware
async def audit_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Record the refusal of a request, and every action that its handler did not record itself.

    Of requests of clients that are not signed in, those with an expired token alone leave an entry here.
    """
    try:
        response = await handler(request)
    except ExpiredTokenError as error:
        await record_refusal(request, "expired token refused", error.name, error.message)
        raise
    except BulkidError as error:
        await _record_outcome(request, error.message)
        raise
    except web.HTTPException as raised:
        await _record_outcome(request, "" if raised.status < _REFUSED else raised.reason)
        raise
    await _record_outcome(request, "" if response.status < _REFUSED else request.get(REFUSAL, response.reason))
    return response


async def _record_outcome(request: web.Request, refused: str) -> None:
    route = route_of(request)
    action = "" if route is None else route.action
    if not action and request.method not in SAFE_METHODS:
        action = "request"
    if not action or request.get(PRINCIPAL) is None or request.get(_RECORDED):
        return
    about = request.match_info
    subject = next((about[name] for name in ("upload", "run", "token") if name in about), request.path)
    if not refused:
        await record_action(request, action, subject)
        return
    left_out = console_of(request).user_refusals.admit(user_key(principal_of(request).user))
    await _record_limited(request, left_out, f"{action} refused", subject, refused)


async def record_refusal(
    request: web.Request, action: str, subject: str = "", detail: str = "", *, principal: str = ""
) -> None:
    """Record a refused request of a client that has not signed in; of many, only some are recorded.

    ``principal`` names the user whom the client says to be; without it, the subject does.
    """
    left_out = console_of(request).refusals.admit(client_address(request))
    await _record_limited(request, left_out, action, subject, detail, principal=principal or subject)


async def _record_limited(
    request: web.Request, left_out: int | None, action: str, subject: str, detail: str, *, principal: str = ""
) -> None:
    if left_out is None:  # too many refusals of this source were recorded
        log.info("console.refused", action=action, address=client_address(request))
        return
    if left_out:
        detail = f"{detail} ({left_out:,} more were refused and are not listed)".strip()
    await record_action(request, action, subject, detail, principal=principal)
