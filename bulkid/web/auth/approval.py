"""Who may approve what: pure rules that the console asks before it starts, resumes or derives a plan.

The authors of a plan are the users who wrote any part of it, or pressed a button that made it. With
``--require-approval`` only a user who is not one of them may start it, which approves exactly the plan with the hash
that the user saw. The table in ``docs/console.md`` says who becomes an author by what.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bulkid.journal.names import user_key

Authors = tuple[str, ...]
"""Names of users, each once, in the order in which they contributed. Names compare as :func:`same_user` says."""


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
    """The rules of one console. ``required``: the user who starts a plan must not be one of its authors."""

    required: bool

    def may_start(self, person: str, authors: Iterable[str]) -> bool:
        """Whether a user may start, and thereby approve, a plan of these authors.

        A plan without any known author can be approved by no user: its origin is not known.
        """
        if not self.required:
            return True
        keys = {user_key(author) for author in authors}
        return bool(keys) and user_key(person) not in keys

    def resume_needs_preview(self, *, approved: str, unseen: bool) -> bool:
        """Whether the pending rows of a run must be previewed and started, instead of being sent by a resume.

        Args:
            approved: The hash of the plan that was approved for the run; empty where none was.
            unseen: Whether the preview of the run did not show these rows: the rest of a trial.
        """
        return unseen or (self.required and not approved)
