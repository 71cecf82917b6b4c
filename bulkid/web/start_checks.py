"""What the start of a run requires: the plan that its preview showed, an allowed user, and each confirmation."""

from collections.abc import Sequence
from typing import Final, NoReturn

from bulkid import runs
from bulkid.errors import BulkidError, InterruptedRunError, UsageError
from bulkid.planning.change_limit import Excess, excess, excess_deletions
from bulkid.runs.descriptions import count_actions
from bulkid.text import count_of
from bulkid.web.auth.access import ApprovalPolicy, Principal, RefusedError
from bulkid.web.uploaded_sheets import UploadedSheet
from bulkid.web.uploads import Upload

_MAX_NAMED: Final = 3  # accounts that a refusal names


class NotConfirmedError(UsageError):
    """A plan changes more of the organisation than the limit, and the user has not confirmed that."""


class DeletionsNotConfirmedError(UsageError):
    """The user has not entered how many accounts a plan deletes, or another number."""


class TrialTooLargeError(UsageError):
    """The first accounts of a plan alone change more of the organisation than the limit."""


def require_startable(
    upload: Upload,
    seen: runs.Preview,
    principal: Principal,
    policy: ApprovalPolicy,
    options: runs.RunOptions,
    *,
    first: int | None,
    really: bool,
) -> None:
    """Require that the principal may start this plan, and has given each confirmation that it needs.

    Raises:
        UsageError: It was rejected, has invalid rows, or cannot be sent in parts.
        RefusedError: The user is one of its authors, where another user must start it.
        TrialTooLargeError, NotConfirmedError: It changes or deletes more accounts than the limits allow.
    """
    require_not_rejected(upload)
    if seen.row_errors and not upload.reading.skip_invalid:
        raise UsageError(
            f"{count_of(seen.invalid_rows, 'row')} {'is' if seen.invalid_rows == 1 else 'are'} invalid: "
            "nothing was sent.",
            hint="Correct them, or skip the invalid rows.",
        )
    if upload.rest_of and first is not None:
        raise UsageError(
            "The rest of a run can only be sent as a whole: nothing was sent.", hint="Leave the number out."
        )
    if not policy.may_start(principal.user, upload.by):
        raise RefusedError(
            403,
            f"{principal.user} is an author of this plan and cannot approve it: nothing was sent.",
            f"The authors are {', '.join(upload.by) or 'not known'}. Another operator must start it.",
        )
    if deletions_of(seen) and not policy.may_delete(principal, upload.by):
        raise RefusedError(
            403,
            f"This plan deletes accounts, and {principal.user} is an author of it: nothing was sent.",
            "An admin, or another operator who is no author of the plan, must start it.",
        )
    if really:
        return
    if first is not None and (excesses := _excesses_of_trial(seen, options, first)):
        raise TrialTooLargeError(
            f"The trial is too large. {'. '.join(each.sentence for each in excesses)}: nothing was sent.",
            hint="Try fewer accounts.",
        )
    if seen.excesses and first is None:
        raise NotConfirmedError(
            f"{'. '.join(each.sentence for each in seen.excesses)}: nothing was sent.",
            hint="Check the preview. To apply it, confirm the number of accounts beside the button.",
        )


def deletions_of(preview: runs.Preview, first: int | None = None) -> int:
    """How many accounts a plan deletes, or its first accounts that change."""
    changes = preview.plan.changes if first is None else preview.plan.changes[:first]
    return count_actions(changes).delete


def _excesses_of_trial(seen: runs.Preview, options: runs.RunOptions, first: int) -> list[Excess]:
    """How the first accounts that change exceed the limits; they cannot where the whole plan does not."""
    counts, found = count_actions(seen.plan.changes[:first]), list[Excess | None]()
    if seen.excess is not None:
        found.append(excess(counts.update + counts.delete, seen.excess.total, options.max_change))
    if seen.excess_deletions is not None:
        found.append(excess_deletions(counts.delete, seen.excess_deletions.total, options.max_delete))
    return [each for each in found if each is not None]


def require_deletions_confirmed(count: int, confirmed: int | None) -> None:
    """Raise DeletionsNotConfirmedError unless the user has entered how many accounts will be deleted."""
    if count == (confirmed or 0):
        return
    will = f"{count_of(count, 'account')} will be deleted"
    if confirmed is None:
        raise DeletionsNotConfirmedError(
            f"{will}, and you have not entered their number: nothing was sent.", hint=f"Enter {count:,} to confirm it."
        )
    hint = f"Check the accounts, and enter {count:,} to confirm it." if count else "Leave the number out."
    raise DeletionsNotConfirmedError(f"You entered {confirmed:,}, but {will}: nothing was sent.", hint=hint)


def require_not_rejected(upload: Upload) -> None:
    """Raise UsageError for a plan that a user rejected."""
    if upload.rejected_by:
        raise UsageError(
            f"{upload.rejected_by} rejected this plan: nothing was sent. Comment: {upload.comment}",
            hint="Correct the sheet and upload it again.",
        )


def refuse_preview(uploaded_sheet: UploadedSheet, preview_id: str) -> NoReturn:
    """Refuse a preview that is not the present one, with the reason: rejected, started, or out of date."""
    require_not_rejected(uploaded_sheet.upload)
    require_not_started(uploaded_sheet, preview_id)
    raise preview_outdated()


def require_not_started(uploaded_sheet: UploadedSheet, preview_id: str) -> None:
    """Refuse a preview that was started: the second click of a double click learns of the first one."""
    started_id, user = uploaded_sheet.started
    if preview_id and preview_id == started_id:
        raise UsageError(f"{user} has started this preview already.", hint="The list of runs shows its run.")


def preview_outdated() -> UsageError:
    """The refusal of a preview that is not the present one."""
    return UsageError("This preview is out of date: nothing was sent.", hint="Check the new preview first.")


def changed_accounts(seen: runs.Preview, now: runs.Preview, first: int | None) -> list[str]:
    """The accounts for which the plan made now would send something else than the one that the user saw.

    ``seen`` is of the whole sheet; ``now`` is already cut to the first accounts of a trial, if ``first`` is given.
    """
    shown = seen.plan.changes if first is None else seen.plan.changes[:first]
    before = {runs.sent_of(change, seen.plan): change for change in shown}
    after = {runs.sent_of(change, now.plan): change for change in now.plan.changes}
    differ = [*(before[key] for key in before.keys() - after.keys()), *(after[key] for key in after.keys() - before)]
    return sorted({change.name or change.account_id for change in differ})


def plan_changed(differ: Sequence[str], *, resumes: bool) -> BulkidError:
    """The refusal of a plan that is not the one that was shown."""
    message = "The directory has changed since the preview"
    if differ:
        message += (
            f": {count_of(len(differ), 'account')} would change differently from the preview "
            f"({', '.join(differ[:_MAX_NAMED])}{' ...' if len(differ) > _MAX_NAMED else ''})"
        )
    hint = "Check the new preview, and apply that."
    if resumes:  # a run that has sent something is never refused as a whole: it stays resumable
        return InterruptedRunError(f"{message}. Nothing more was sent.", hint=hint)
    return UsageError(f"{message}. Nothing was sent.", hint=hint)
