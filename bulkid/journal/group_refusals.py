"""Groups that refused a PUT for good, by organisation; as long as that is remembered, their members go by account."""

from typing import Final, NamedTuple

from sqlalchemy import and_, delete, insert, or_, select

from bulkid.journal.database import repeated
from bulkid.journal.schema import group_refusals
from bulkid.journal.store import Journal
from bulkid.text import fold

REMEMBERED_S: Final = 30 * 86_400.0
"""Seconds that a refusal is remembered; after that, group requests are tried again."""


class GroupRefusal(NamedTuple):
    """A group that refused a PUT for good."""

    group_id: str  # folded
    name: str  # of the group, at that time
    http_status: int | None
    error: str  # the server's words
    refused_at: float  # seconds since the epoch


_COLUMNS = [group_refusals.c[name] for name in GroupRefusal._fields]


class GroupRefusals:
    """The refusals of one organisation's groups. Every method is one transaction, durable when it returns."""

    def __init__(self, journal: Journal, organization_id: str) -> None:
        self.database = journal.database
        self._organization_id = fold(organization_id)

    @repeated
    def remember(self, refusal: GroupRefusal) -> None:
        """Remember a refusal in place of an earlier one of the same group, and forget what is too old."""
        columns, group_id = group_refusals.c, fold(refusal.group_id)
        values = {**refusal._asdict(), "organization_id": self._organization_id, "group_id": group_id}
        same = and_(columns.organization_id == self._organization_id, columns.group_id == group_id)
        too_old = columns.refused_at < refusal.refused_at - REMEMBERED_S
        with self.database.write() as connection:
            connection.execute(delete(group_refusals).where(or_(same, too_old)))
            connection.execute(insert(group_refusals).values(values))

    def known(self, now: float) -> list[GroupRefusal]:
        """The refusals that still count at a time (seconds since the epoch), by the group's name."""
        columns = group_refusals.c
        query = (
            select(*_COLUMNS)
            .where(columns.organization_id == self._organization_id, columns.refused_at >= now - REMEMBERED_S)
            .order_by(columns.name, columns.group_id)
        )
        return [GroupRefusal(*row) for row in self.database.fetch(query)]
