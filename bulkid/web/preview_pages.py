"""The page of a preview: what a sheet would change, and the form that starts its run."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

import anyio
from aiohttp import web
from aiohttp.web import HTTPSeeOther

from bulkid.errors import BulkidError, UsageError
from bulkid.planning.creation import DELETION_NOT_ALLOWED
from bulkid.resources import current
from bulkid.runs import Preview
from bulkid.runs.concurrency import in_thread
from bulkid.runs.descriptions import (
    ActionCounts,
    actions_sentence,
    advice,
    count_actions,
    deleted_accounts,
    deletion_warning,
    destination,
    estimate,
    forecast,
    new_groups_line,
    sending_details,
)
from bulkid.text import count_of
from bulkid.web.audit import record_action
from bulkid.web.auth.access import is_another_user
from bulkid.web.change_index import ChangeFilter
from bulkid.web.console import Console, console_of, uploaded_sheet_of
from bulkid.web.middleware import form_again, principal_of
from bulkid.web.pages import Pager, page
from bulkid.web.preview_lines import preview_page
from bulkid.web.request_bodies import form_of
from bulkid.web.start_checks import DeletionsNotConfirmedError, NotConfirmedError, TrialTooLargeError
from bulkid.web.upload_pages import may_remove
from bulkid.web.uploaded_sheets import UploadedSheet
from bulkid.web.uploads import Upload
from bulkid.web.wording import ALLOW_DELETIONS, console_words

PREVIEW_WAIT_S: Final = 2.0  # how long a request for a preview waits before it shows that the preview is being made
_KINDS: Final = ("changes", "unchanged", "invalid")


def address_of(uploaded_sheet: UploadedSheet) -> str:
    """The address of a preview."""
    return f"/sheets/{uploaded_sheet.upload.upload_id}/preview"


async def preview_made(console: Console, uploaded_sheet: UploadedSheet) -> str:
    """Make a preview, wait for it up to ``PREVIEW_WAIT_S``, and return its address."""
    task = console.make_preview(uploaded_sheet)
    with anyio.move_on_after(PREVIEW_WAIT_S):
        await task.done.wait()
    return address_of(uploaded_sheet)


async def preview(request: web.Request) -> web.StreamResponse:
    """Show what a sheet would change, or that the preview is being made."""
    template, shown = await _preview_page_of(request, await uploaded_sheet_of(request))
    return page(request, template, **shown)


@dataclass(frozen=True, slots=True)
class StartForm:
    """The form that starts a run, as a user has sent it: with an error it is shown as it was."""

    first: str = ""  # how many accounts a trial changes, as entered
    trial: bool = False  # whether the user chose a trial
    really: bool = False  # whether the user confirmed a plan that exceeds the limit
    deletions: str = ""  # how many accounts are to be deleted, as entered
    error: BulkidError | None = None
    field: str = ""  # the name of the field that the error is about; "" where it is about none


async def _preview_page_of(
    request: web.Request, uploaded_sheet: UploadedSheet, form: StartForm | None = None
) -> tuple[str, dict[str, Any]]:
    """The template of a preview, and what it shows; a form that was refused is shown with its error."""
    console, principal = console_of(request), principal_of(request)
    upload, job, address = uploaded_sheet.upload, uploaded_sheet.preview, address_of(uploaded_sheet)
    subject = {
        "upload": upload,
        "source": await _source_of(console, upload),
        "address": address,
        "start": form or StartForm(),
        "may_remove": may_remove(principal, upload),
    }
    if job is None or job.result is None or job.index is None or not job.done.is_set():
        making = job is not None and not job.done.is_set()
        activity, error = ("", None) if job is None else (job.activity, job.error)
        return "preview_wait.html", {**subject, "making": making, "activity": activity, "error": error}
    kind, search = request.query.get("show", ""), request.query.get("search", "")[:200]
    if kind not in _KINDS:
        kind = "changes"
    only = ChangeFilter(request.query.get("kind", "")[:100], request.query.get("group", "")[:200])
    pager = Pager(request, path=address)
    found = await in_thread(partial(preview_page, job, kind, search, pager.offset, pager.size, only=only))
    counts = count_actions(job.result.plan.changes)
    changes, policy = counts.total, console.policy
    approval = policy.approves(principal, deletes=counts.delete > 0)
    return "preview.html", {
        **subject,
        "labels": [field.label for field in current().fields],
        "job": job,
        "preview": job.result,
        "place": destination(job.result.base_url, job.result.organization_id, sandbox=console.options.sandbox),
        "actions": counts,
        "deleted": list(deleted_accounts(job.result)),
        "deletion_warning": deletion_warning(job.result),
        "deletions_refused": any(each.code == DELETION_NOT_ALLOWED for each in job.result.row_errors),
        "allow_deletions": ALLOW_DELETIONS,
        "new_groups": new_groups_line(job.result),
        "forecast": forecast(job.result),
        "estimate": f"{estimate(job.result)} {console_words(advice(job.result))}".strip(),
        "details": sending_details(job.result),
        "found": found,
        "kind": kind,
        "search": search,
        "only": only,
        "filtered": partial(_filtered, address, {"kind": only.kind, "group": only.group, "search": search}),
        "pager": pager.of(found.total),
        "warnings": warnings_of(job.result),
        "needs_other_user": not policy.may_start(principal.user, upload.by)
        or (counts.delete > 0 and not policy.may_delete(principal, upload.by)),
        "approval": approval,
        "may_reject": (policy.required or counts.delete > 0) and is_another_user(principal.user, upload.by),
        "effect": effect_of(upload, counts, approval=approval),
        "trial_size": trial_size(upload, changes),
    }


def _filtered(address: str, filters: Mapping[str, str], **changed: str) -> str:
    """The address of the changes of a preview with some filters changed."""
    query = {name: value for name, value in {**filters, **changed}.items() if value}
    return f"{address}?{urlencode(query)}#lines" if query else f"{address}#lines"


async def _source_of(console: Console, upload: Upload) -> str:
    """The name of the sheet that a plan is about: for a plan that derives from a run, that of the run."""
    if not upload.derived_from:
        return upload.name
    with suppress(UsageError):  # the run was pruned
        return (await in_thread(console.run_browser.run, upload.derived_from)).run.source
    return upload.name


@dataclass(frozen=True, slots=True)
class Effect:
    """What the button of a preview does, in words."""

    verb: str
    noun: str
    all: str  # "Update 176 accounts"
    confirmed: str  # what the user ticks for a plan beyond the limit: "change all 176 accounts"
    trial: str  # where no script of the page fills in the number


def effect_of(upload: Upload, counts: ActionCounts, *, approval: bool) -> Effect:
    """The effect of starting a plan."""
    of_each = ((counts.create, "Create"), (counts.update, "Update"), (counts.delete, "Delete"))
    verbs = [verb for count, verb in of_each if count]
    if verbs == ["Update"] and upload.undo_of:
        verb, noun, everything = "Undo", "change", f"Undo {count_of(counts.update, 'change')}"
    else:
        verb, noun, everything = verbs[0] if len(verbs) == 1 else "Change", "account", actions_sentence(counts)
    confirmed = f"change all {count_of(counts.total, 'account')}"
    if verbs != ["Update"]:
        confirmed = f"{everything[:1].lower()}{everything[1:]}"
    if approval:
        verb, everything = f"Approve and {verb.lower()}", f"Approve and {everything[:1].lower()}{everything[1:]}"
    return Effect(verb, noun, everything, confirmed, "Approve and start the trial" if approval else "Start the trial")


def trial_size(upload: Upload, changes: int) -> int:
    """How many accounts a trial changes where the user enters nothing else; 0 where there can be no trial."""
    return 0 if upload.rest_of or changes < 2 else min(10, changes // 2)  # noqa: PLR2004 - one account is no trial


def warnings_of(preview: Preview) -> list[str]:
    """What to know before starting, except that the plan is large: the page says that beside the button."""
    too_much = tuple(each.sentence for each in preview.excesses)
    return [warning for warning in preview.warnings if not warning.startswith(too_much)]


_FIELDS: Final = (
    (NotConfirmedError, "really"),
    (TrialTooLargeError, "first"),
    (DeletionsNotConfirmedError, "deletions"),
)
"""The fields of the form that starts a run at which errors stand."""


def number_of_deletions(text: str) -> int | None:
    """How many accounts a user expects to be deleted, as entered: ``1234`` or ``1,234``; None for nothing.

    Raises:
        DeletionsNotConfirmedError: It is not a number.
    """
    digits = text.replace(",", "")
    if not digits:
        return None
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):  # noqa: PLR2004
        raise DeletionsNotConfirmedError(
            f"{text!r} is not a number of accounts: nothing was sent.", hint="Enter how many accounts will be deleted."
        )
    return int(digits)


async def start(request: web.Request) -> web.StreamResponse:
    """Begin the run that a preview showed, or show the preview with what is wrong with the form."""
    uploaded_sheet, sent = await uploaded_sheet_of(request), await form_of(request)
    console, job = console_of(request), uploaded_sheet.preview
    changes = 0 if job is None or job.result is None else len(job.result.plan.changes)
    form = StartForm(
        sent.get("first", "").strip()[:40],
        sent.get("scope") == "first",
        bool(sent.get("really")),
        sent.get("deletions", "").strip()[:40],
    )
    try:
        first = first_of(form, sent.get("scope", ""), trial_size(uploaded_sheet.upload, changes))
    except UsageError as error:
        return await preview_again(request, uploaded_sheet, replace(form, error=error, field="first"))
    try:
        deletions = number_of_deletions(form.deletions)
        started = await console.start(
            uploaded_sheet,
            sent.get("preview", ""),
            principal_of(request),
            partial(record_action, request),
            first=first,
            really=form.really,
            deletions=deletions,
        )
    except BulkidError as error:
        field = next((name for kind, name in _FIELDS if isinstance(error, kind)), "")
        return await preview_again(request, uploaded_sheet, replace(form, error=error, field=field))
    raise HTTPSeeOther(f"/runs/{started.run_id}")


async def preview_again(request: web.Request, uploaded_sheet: UploadedSheet, form: StartForm) -> web.Response:
    """Answer a form of a preview that was refused with the preview and the error of the form."""
    assert form.error is not None  # noqa: S101 - the caller has set it
    template, shown = await _preview_page_of(request, uploaded_sheet, form)
    return form_again(request, form.error, template, **shown)


def first_of(form: StartForm, scope: str, suggested: int) -> int | None:
    """How many accounts a trial changes, None for all.

    Raises:
        UsageError: The number is not a whole number from 1 on, or the user has changed it and yet chosen all accounts.
    """
    if scope == "all":
        if form.first not in {"", str(suggested)}:
            raise UsageError(
                "You entered a number, but chose all accounts: nothing was sent.", hint="Choose one of the two."
            )
        return None
    if not form.first and scope != "first":
        return None
    if not (form.first.isascii() and form.first.isdigit() and int(form.first[:12]) > 0):
        raise UsageError(
            f"{form.first[:40]!r} is not a number of accounts: nothing was sent."
            if form.first
            else "The number of accounts is missing: nothing was sent.",
            hint="Enter a whole number from 1 on.",
        )
    return int(form.first[:12])
