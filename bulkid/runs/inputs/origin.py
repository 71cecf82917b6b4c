"""Changes that a run is given ready-made (an undo, a plan file) in place of a sheet, and where they belong."""

from dataclasses import dataclass, field

from bulkid.consume import consume
from bulkid.errors import UsageError
from bulkid.model import RunRecord
from bulkid.planning import Directory, Precondition, Resolution, resolve_preconditions
from bulkid.runs.execution.connection import Connection
from bulkid.text import fold

UNDO, PLAN = "undo", "plan"
"""Under which name the options of a run say what its changes were given by."""

APPROVED = "approved"
"""Under which name the options of a run hold the hash of the plan that was approved for it."""


def has_preconditions(record: RunRecord, *, reconfirmed: bool) -> bool:
    """Whether a resume leaves accounts alone that have changed since they were planned.

    Args:
        record: The run. Its changes may have been given, or approved as they were shown.
        reconfirmed: Whether what the resume sends is a new plan that is shown and confirmed first.
    """
    given = UNDO in record.options or PLAN in record.options
    return given or (bool(record.options.get(APPROVED)) and not reconfirmed)


@dataclass(frozen=True, slots=True)
class Origin:
    """What the changes were worked out for.

    Args:
        what: Begins a sentence: ``Run 20260131-081500-x7k2``, ``The plan changes.json``.
        expected_state: The state expected, to end a sentence: ``as run 20260131-081500-x7k2 left it``.
        base_url: The server.
        organization_id: The organisation.
        sandbox: Whether the server was an embedded sandbox, whose place another has taken at another address.
    """

    what: str
    expected_state: str
    base_url: str
    organization_id: str
    sandbox: bool = False

    def require_server(self, url: str) -> None:
        """Refuse another server.

        Raises:
            UsageError: ``url`` is not that of the changes.
        """
        if not self.sandbox and url != self.base_url:
            raise UsageError(
                f"{self.what} belongs to {self.base_url}, but the settings name {url}.",
                hint="Set BULKID_URL (or the profile) to its own address.",
            )

    def require_organization(self, organization_id: str) -> None:
        """Refuse another organisation.

        Raises:
            UsageError: ``organization_id`` is not that of the changes.
        """
        if fold(organization_id) != fold(self.organization_id):
            raise UsageError(
                f"{self.what} belongs to organisation {self.organization_id}, but the connection is to "
                f"{organization_id}.",
                hint="Set BULKID_ORGANIZATION_ID and the credentials (or the profile) to its own.",
            )


@dataclass(frozen=True, slots=True)
class Given:
    """The changes and their origin."""

    expected: list[Precondition] = field(repr=False)
    origin: Origin

    def require_place(self, connection: Connection) -> None:
        """Refuse a connection to another server or organisation.

        Raises:
            UsageError: It is another one.
        """
        self.origin.require_server(connection.base.url)
        self.origin.require_organization(connection.organization_id)

    def resolve(self, directory: Directory) -> Resolution:
        """Compare every account with what is expected of it; the list is empty afterwards.

        Raises:
            PermissionDeniedError: The accounts cannot be read.
        """
        return resolve_preconditions(consume(self.expected), directory, self.origin.expected_state)
