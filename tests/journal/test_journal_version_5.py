"""Version 5 kept the JSON of entries by position; the migration to version 6 keys it by name, in both databases."""

from sqlalchemy import delete, insert, update

from bulkid.journal.codec import dumps
from bulkid.journal.schema import entries, schema_version
from bulkid.model import Account, DesiredState, RunItem
from tests.support.journal_data import PENDING, RUN, Place, good_row, record

ROBOT = Account("a", "one", ("Old",), ("g2",))
NAMELESS = Account("c", "three", ("",), None)
ITEMS = [
    RunItem(0, DesiredState("a", "one", ("New",), ("g1",), (), None, (2,)), ROBOT, "x", PENDING),
    RunItem(1, DesiredState("b", "two", (None,), (), ("g1",), None, (3, 4)), None, "y", PENDING),
    RunItem(2, DesiredState("c", "", ("",), (), (), (), (5,)), NAMELESS, "z", PENDING),
]


def test_entries_by_position_are_read_as_they_were_meant(place: Place) -> None:
    with place.open() as journal:
        journal.create_run(record())
        journal.add_rows(RUN, [good_row(number) for number in range(2, 6)])
        journal.add_items(RUN, ITEMS)
        with journal.database.write() as connection:
            for item in ITEMS:
                wanted, before = item.desired, item.before
                state = None if before is None else (None, before.name or None, before.values[0], before.group_ids)
                connection.execute(
                    update(entries)
                    .where(entries.c.entry == item.number)
                    .values(
                        wish=dumps((wanted.values[0], wanted.add, wanted.remove, wanted.exact, wanted.rows)),
                        before=None if state is None else dumps(state),
                    )
                )
            connection.exec_driver_sql("DROP TABLE planned_changes")
            connection.exec_driver_sql("DROP TABLE packed_items")
            connection.exec_driver_sql("ALTER TABLE console_tokens DROP COLUMN expires_at")
            for column in ("base_url", "organization_id"):
                connection.exec_driver_sql(f"ALTER TABLE taken_files DROP COLUMN {column}")
            connection.execute(delete(schema_version))
            connection.execute(insert(schema_version).values(version=5, applied_at=1.0))
    with place.open() as journal:
        assert list(journal.iter_items(RUN)) == ITEMS
