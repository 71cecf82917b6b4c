"""Groups that refused a PUT for good are remembered per organisation, and forgotten after a while."""

from pathlib import Path

from bulkid.journal.group_refusals import REMEMBERED_S, GroupRefusal, GroupRefusals
from tests.support.journal_data import Place

NOW = 1_770_000_000.0


def refusal(group: str = "ABC", name: str = "Users", at: float = NOW) -> GroupRefusal:
    return GroupRefusal(group, name, 400, "no", at)


def test_a_refusal_is_known_to_its_organisation_alone_until_it_is_too_old(place: Place) -> None:
    with place.open() as journal:
        refusals = GroupRefusals(journal, "ORG")
        assert refusals.known(NOW) == []
        refusals.remember(refusal())
        assert refusals.known(NOW) == [refusal("abc")]
        assert refusals.known(NOW + REMEMBERED_S) == [refusal("abc")]
        assert refusals.known(NOW + REMEMBERED_S + 1) == []
        assert GroupRefusals(journal, "org").known(NOW) == [refusal("abc")]
        assert GroupRefusals(journal, "another").known(NOW) == []


def test_a_later_refusal_takes_the_place_of_an_earlier_one(place: Place) -> None:
    with place.open() as journal:
        refusals = GroupRefusals(journal, "org")
        refusals.remember(refusal())
        refusals.remember(refusal("abc", "Renamed", NOW + 5))
        refusals.remember(refusal("b", "Another", NOW + 6))
        assert refusals.known(NOW + 7) == [refusal("b", "Another", NOW + 6), refusal("abc", "Renamed", NOW + 5)]


def test_what_is_remembered_outlives_the_process(tmp_path: Path) -> None:
    with Place(tmp_path).open() as journal:
        GroupRefusals(journal, "org").remember(refusal())
    with Place(tmp_path).open() as journal:
        assert GroupRefusals(journal, "org").known(NOW) == [refusal("abc")]
