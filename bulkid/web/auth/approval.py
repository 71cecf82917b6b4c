"""Who may approve what. Pure rules, no I/O: the console asks them before it starts, resumes or derives a plan.

A plan has *authors*: the users who wrote any part of it, or pressed a button that made it. With ``--require-approval``
only a user who is not one of them may start it, which approves exactly the plan with the hash that the user saw.

========================  =============================================================================
what a user does           authors of the plan that results
========================  =============================================================================
upload a sheet             the user
say how to read it         those of the sheet before, and the user
preview, limit to N        unchanged: this adds nothing to what is sent
retry or undo a run        those of the run, and the user
resume the rest of a run   those of the run
========================  =============================================================================
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from bulkid.journal.names import user_key

Authors = tuple[str, ...]
"""Names of users, each once, in the order in which they contributed. Names compare as :func:`same_user` says."""


class Resume(Enum):
    """What the Resume button of a run does."""

    CONTINUE = "go on"  # everything pending was approved and seen: send it
    PREVIEW = "preview"  # something pending was never seen, or never approved: make it a plan of its own


def same_user(one: str, other: str) -> bool:
    """Whether two names are those of one user."""
    return user_key(one) == user_key(other)


def with_authors(authors: Iterable[str], *more: str) -> Authors:
    """Add authors to a plan. An author of a plan stays one of all plans that derive from it."""
    found: dict[str, str] = {}
    for name in (*authors, *more):
        if name:
            found.setdefault(user_key(name), name)
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """The rules of one console.

    Args:
        required: Whether a plan needs the approval of a user who is not one of its authors (``--require-approval``).
    """

    required: bool

    def may_start(self, person: str, authors: Iterable[str]) -> bool:
        """Whether a user may start, and thereby approve, a plan of these authors.

        A plan without any known author can be approved by no user: its origin is not known.
        """
        if not self.required:
            return True
        keys = {user_key(author) for author in authors}
        return bool(keys) and user_key(person) not in keys

    def resume(self, *, approved: str, unseen: bool) -> Resume:
        """What resuming a run may do.

        Args:
            approved: The hash of the plan that was approved for the run; empty where none was.
            unseen: Whether what is pending was left out of the plan that was shown: the rest of a trial.
        """
        if unseen or (self.required and not approved):
            return Resume.PREVIEW
        return Resume.CONTINUE
