"""Notifications once ``run``, ``resume`` and ``undo`` have ended."""

import functools
import inspect
import platform
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from bulkid.errors import BulkidError, DeclinedError
from bulkid.report.summary import ending, next_steps
from bulkid.runs.options import Context, RunResult
from bulkid.runs.run_metrics import job_of

if TYPE_CHECKING:
    from bulkid.notify.message import Message

P = ParamSpec("P")

ABORTED_LIMIT_S = 1.0
"""How long services may still take once the user has asked twice to stop."""

_SUBJECT_ARGUMENTS = ("name", "source", "path", "text")
"""Arguments that say what a command is for: a sheet, a plan file, a run."""

_COMMAND_NAMES = {"run_plan": "run --plan"}
"""Commands that are not called as their function is."""


def notifies(command: Callable[P, Coroutine[Any, Any, RunResult]]) -> Callable[P, Coroutine[Any, Any, RunResult]]:
    """Make a command notify how it ended, once it has released its locks, also when there is no run.

    Errors of notifications change neither its result nor the error that it raises. It does not begin without the
    libraries that the actions after it need.
    """
    signature = inspect.signature(command)

    @functools.wraps(command)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> RunResult:
        bound = signature.bind(*args, **kwargs).arguments
        context: Context = bound.get("context") or Context()
        context.after.require_extras()
        if not context.after.recipients:
            return await command(*args, **kwargs)
        # Before the first request, since an administrator may update bulkid during a run of many hours.
        import bulkid.notify.deliver  # noqa: F401 - `send_notification` needs it
        from bulkid.notify.message import message_of_failure, message_of_run

        try:
            result = await command(*args, **kwargs)
        except DeclinedError:
            raise  # there is no run, and the user knows
        except BulkidError as error:
            subject = next((bound[name] for name in _SUBJECT_ARGUMENTS if bound.get(name)), "")
            shown = str(subject) if isinstance(subject, str | Path) else "standard input"
            command_name = _COMMAND_NAMES.get(command.__name__, command.__name__)
            job = getattr(bound.get("options"), "job", "")
            await send_notification(
                message_of_failure(command_name, shown, error, host=platform.node(), job=job), context
            )
            raise
        files = result.report.files if result.report is not None else ()
        message = message_of_run(
            result.run,
            result.summary,
            result.exit_code,
            ended=ending(result.status, result.summary),
            next_steps=next_steps(result.run, result.summary),
            error=result.error,
            files=files,
            job=job_of(result.run),
        )
        await send_notification(message, context)
        return result

    return wrapper


async def send_notification(message: "Message", context: Context) -> None:
    """Send a message to its recipients, and warn about failed notifications."""
    recipients = context.after.recipients.for_outcome(success=message.success)
    if not recipients:
        return
    from bulkid.notify.deliver import STOPPED_TIMEOUT_S, deliver

    context.hooks.stage("notify")
    limits = ((context.stop.wait, STOPPED_TIMEOUT_S), (context.stop.wait_aborted, ABORTED_LIMIT_S))
    for failed in await deliver(message, recipients, clock=context.clock, limits=limits):
        context.hooks.warn(str(failed))
