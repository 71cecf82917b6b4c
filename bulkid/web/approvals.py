"""Plans that wait for an approval: who sees which, and how a plan is rejected."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.web import HTTPSeeOther

from bulkid.errors import BulkidError, UsageError
from bulkid.runs.concurrency import in_thread
from bulkid.web.audit import record_action
from bulkid.web.auth.access import Principal, Role, is_another_user, same_user
from bulkid.web.console import Console, console_of, uploaded_sheet_of
from bulkid.web.middleware import principal_of
from bulkid.web.preview_pages import StartForm, preview_again
from bulkid.web.request_bodies import form_of
from bulkid.web.uploads import Upload

MAX_COMMENT: Final = 500  # characters of a comment


@dataclass(frozen=True, slots=True)
class ApprovalQueue:
    """The plans that concern one user, the newest first."""

    to_approve: Sequence[Upload] = ()
    waiting: Sequence[Upload] = ()  # plans of the user that another operator must approve
    rejected: Sequence[Upload] = ()  # plans of the user


async def approval_queue(console: Console, principal: Principal) -> ApprovalQueue:
    """The plans that wait for the user, and those of the user.

    Where the console requires no approval, these are the plans that delete accounts.
    """
    if not principal.may(Role.OPERATOR):
        return ApprovalQueue()
    user, policy, uploads = principal.user, console.policy, await in_thread(console.uploads.all)
    ready = [each for each in uploads if each.is_open and each.changes and (policy.required or each.deletions)]
    starts_own = not policy.required and principal.may(Role.ADMIN)
    return ApprovalQueue(
        to_approve=[each for each in ready if is_another_user(user, each.by)],
        waiting=[each for each in ready if _is_author(user, each) and not starts_own],
        rejected=[each for each in uploads if each.rejected_by and _is_author(user, each)],
    )


def _is_author(user: str, upload: Upload) -> bool:
    return any(same_user(user, author) for author in upload.by)


async def reject(request: web.Request) -> web.StreamResponse:
    """Reject the plan that a preview shows, or show the preview with the reason why it is not rejected."""
    form = await form_of(request)
    try:
        rejected = await rejected_plan(request, form.get("preview", ""), form.get("comment", ""))
    except BulkidError as error:
        return await preview_again(request, await uploaded_sheet_of(request), StartForm(error=error))
    raise HTTPSeeOther(f"/sheets/{rejected.upload_id}/preview")


async def rejected_plan(request: web.Request, preview_id: str, comment: str) -> Upload:
    """Reject the plan of the sheet that the address of a request names; recorded in the audit log."""
    console, said = console_of(request), " ".join(comment.split())
    if len(said) > MAX_COMMENT:
        raise UsageError(f"The comment is too long: it may have {MAX_COMMENT} characters.")
    uploaded_sheet = await console.uploaded_sheet(request.match_info["upload"])
    return await console.reject(
        uploaded_sheet, preview_id, principal_of(request), said, partial(record_action, request)
    )
