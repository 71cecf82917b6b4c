"""Groups that refused a PUT for good, by organisation; as long as that is remembered, their members go by account."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, insert, select

from bulkid.journal.database import repeated
from bulkid.journal.schema import group_refusals
from bulkid.journal.store import Journal
from bulkid.text import fold

REMEMBERED_S: Final = 30 * 86_400.0
"""Seconds that a refusal is remembered; after that, group requests are tried again."""


@dataclass(frozen=True, slots=True)
class GroupRefusal:
    """A group that refused a PUT for good."""

    group_id: str  # folded
    name: str  # of the group, at that time
    http_status: int | None
    error: str  # the server's words
    refused_at: float  # seconds since the epoch


_COLUMNS = [group_refusals.c[name] for name in GroupRefusal.__dataclass_fields__]


class GroupRefusals:
    """The refusals of one organisation's groups. Every method is one transaction, durable when it returns.

    Args:
        journal: Whose database remembers them.
        organization_id: The organisation; case does not matter.
    """

    def __init__(self, journal: Journal, organization_id: str) -> None:
        self.database = journal.database
        self._organization_id = fold(organization_id)

    @repeated
    def remember(self, refusal: GroupRefusal) -> None:
        """Remember a refusal in place of an earlier one of the same group, and forget what is too old."""
        table = group_refusals
        values = {name: getattr(refusal, name) for name in GroupRefusal.__dataclass_fields__}
        values |= {"organization_id": self._organization_id, "group_id": fold(refusal.group_id)}
        with self.database.write() as connection:
            connection.execute(delete(table).where(table.c.refused_at < refusal.refused_at - REMEMBERED_S))
            connection.execute(
                delete(table).where(
                    table.c.organization_id == values["organization_id"], table.c.group_id == values["group_id"]
                )
            )
            connection.execute(insert(table).values(values))

    @repeated
    def known(self, now: float) -> list[GroupRefusal]:
        """The refusals that still count, by the group's name.

        Args:
            now: Seconds since the epoch.
        """
        table = group_refusals
        query = (
            select(*_COLUMNS)
            .where(table.c.organization_id == self._organization_id, table.c.refused_at >= now - REMEMBERED_S)
            .order_by(table.c.name, table.c.group_id)
        )
        with self.database.read() as connection:
            return [GroupRefusal(*row) for row in connection.execute(query)]
