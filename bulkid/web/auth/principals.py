"""Who asks: a person with a session, or a program with a token, and what each role may do."""

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What somebody may do; each role may do all that those before it may."""

    VIEWER = 1  # look at runs, reports and the connection's state
    OPERATOR = 2  # upload, preview, start, pause, resume, stop
    ADMIN = 3  # tokens, the audit table

    @property
    def word(self) -> str:
        """The role as people write it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> "Role":
        """The role that a word names.

        Raises:
            KeyError: There is no such role.
        """
        return cls[word.upper()]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as far as the console knows.

    Args:
        name: For the history and the audit table: the user, or ``token NAME``.
        role: What they may do.
        person: The user behind it: the owner of a token, else the user itself. Approval goes by this.
    """

    name: str
    role: Role
    person: str

    def may(self, role: Role) -> bool:
        """Whether they may do what a role may."""
        return self.role >= role
