"""Some items of a run by number, and groups that replace others in all items."""

import pytest

from bulkid.journal.store import Journal
from bulkid.model import Account, Action, DesiredState
from tests.support.journal_data import FAILED, RUN, begin, entry, record

OLD = "0c7f0a4e-5d5e-4a8e-9d43-000000000001"


def test_items_are_found_by_their_numbers(journal: Journal) -> None:
    begin(journal, 1500)
    found = journal.items(RUN, [1499, 3, *range(100, 1200)])
    assert sorted(found) == [3, *range(100, 1200), 1499]
    assert all(item.number == number for number, item in found.items())
    assert journal.items(RUN, []) == {}


def test_a_group_takes_the_place_of_another_in_every_item_of_one_run(journal: Journal) -> None:
    new, other = 'theirs "quoted" \\ %', "20260131-081500-aaaa"
    for run_id in (RUN, other):
        journal.create_run(record(run_id))
        items = [item._replace(desired=item.desired._replace(rows=())) for item in map(entry, range(4))]
        states = [
            items[0].desired._replace(add=(OLD, "g-1")),
            items[1].desired._replace(exact=("g-1", OLD), action=Action.CREATE),
            items[2].desired._replace(remove=("g-1",)),
            items[3].desired._replace(add=("g-1",), values=("New",)),
        ]
        journal.add_items(run_id, [item._replace(desired=each) for item, each in zip(items, states, strict=True)])
    journal.replace_group(RUN, OLD, new)
    found = [item.desired for item in journal.iter_items(RUN)]
    assert found == [
        states[0]._replace(add=(new, "g-1")),
        states[1]._replace(exact=("g-1", new)),
        states[2],
        states[3],
    ]
    assert [item.desired for item in journal.iter_items(other)] == states


def test_a_text_that_a_database_may_not_take_is_kept_with_a_replacement_wherever_it_is(journal: Journal) -> None:
    odd, kept = "a\0b \ud800", "a\ufffdb \ufffd"
    item = entry(0)
    desired = DesiredState(odd, odd, (odd,), (odd,), (odd,), (odd,), ())
    before = Account(odd + "!", odd + "!", (odd,), (odd,))
    untouched = item._replace(desired=desired, before=before, changes=odd)
    intended = untouched._replace(number=1, intended=True)
    settled = untouched._replace(number=2, outcome=FAILED._replace(error=odd, error_code=odd))
    journal.create_run(record())
    journal.add_items(RUN, [untouched, intended, settled])
    journal.settle(RUN, [(1, settled.outcome)])
    journal.add_planned_changes(RUN, [untouched])
    found = [*journal.iter_items(RUN), *journal.iter_planned_changes(RUN)]
    assert {each.desired for each in found} == {DesiredState(kept, kept, (kept,), (kept,), (kept,), (kept,), ())}
    assert {each.before for each in found} == {Account(kept + "!", kept + "!", (kept,), (kept,))}
    assert {each.changes for each in found} == {kept}
    assert [each.outcome.error for each in found] == ["", kept, kept, ""]
    assert [each.outcome.error_code for each in found] == ["", kept, kept, ""]


@pytest.mark.parametrize("column", ["account_id", "name", "changes"])
def test_such_a_text_is_kept_where_it_is_the_only_one(journal: Journal, column: str) -> None:
    desired = entry(0).desired._replace(rows=())
    item = entry(0)._replace(desired=desired, changes="a\0")
    if column != "changes":
        item = entry(0)._replace(desired=desired._replace(**{column: "a\0"}))
    journal.create_run(record())
    journal.add_items(RUN, [item, item._replace(number=1, intended=True)])
    found = list(journal.iter_items(RUN))
    assert [each.changes if column == "changes" else getattr(each.desired, column) for each in found] == ["a\ufffd"] * 2


def test_items_planned_again_have_their_new_states_and_words_alone(journal: Journal) -> None:
    begin(journal, 3)
    before = Account("other id", "other name", ("a\ud800",), None)
    again = [entry(number)._replace(before=before, changes=f"again \0 {number}") for number in (0, 2)]
    journal.plan_again(RUN, again)
    kept = before._replace(values=("a\ufffd",))
    assert list(journal.iter_items(RUN)) == [
        again[0]._replace(before=kept, changes="again \ufffd 0"),
        entry(1),
        again[1]._replace(before=kept, changes="again \ufffd 2"),
    ]
