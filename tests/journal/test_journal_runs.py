"""Runs: their records, their names, and how they are found again."""

from dataclasses import fields, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import StateError, UsageError
from bulkid.journal.names import new_run_id
from bulkid.journal.queries import run_page
from bulkid.journal.store import Journal
from bulkid.model import RunRecord, RunStatus
from tests.support.journal_data import RUN, record


def test_a_record_comes_back_as_it_was(journal: Journal) -> None:
    whole = record(
        user="ada",
        phase="planned",
        finished_at=1_769_847_999.125,
        message="Stopped: “Zürich” — 機械",
        report_dir="/reports/x",
        sheet={"headers": ["id", "名前"], "delimiter": ";", "encoding": None},
        options={"via": "auto", "max_attempts": 5, "quota": [["PUT", 160, 300.0]]},
        counters={"requests": {"GET": 2, "PUT": 7}},
    )
    journal.create_run(whole)
    assert journal.get_run(RUN) == whole


def test_every_field_can_be_updated_but_the_id(journal: Journal) -> None:
    journal.create_run(record())
    changed = RunRecord(
        RUN,
        2.5,
        RunStatus.STOPPED,
        "resume",
        "b.csv",
        "https://b",
        "org-b",
        "host-b",
        7,
        "bob",
        "finished",
        3.5,
        "why",
        "/r",
        {"a": 1},
        {"b": [2]},
        {"c": {"d": 3}},
    )
    for field in fields(RunRecord):
        if field.name != "run_id":
            journal.update_run(RUN, **{field.name: getattr(changed, field.name)})
    assert journal.get_run(RUN) == changed


def test_an_update_touches_only_its_run_and_fields(journal: Journal) -> None:
    other = record("20260131-081500-zzzz")
    journal.create_run(record())
    journal.create_run(other)
    journal.update_run(RUN, message="new", counters={"retries": 1})
    journal.update_run(RUN)
    assert journal.get_run(RUN) == replace(record(), message="new", counters={"retries": 1})
    assert journal.get_run(other.run_id) == other


def test_a_field_that_a_run_does_not_have_is_refused(journal: Journal) -> None:
    journal.create_run(record())
    with pytest.raises(ValueError, match="stauts"):
        journal.update_run(RUN, stauts="x", message="y")
    assert journal.get_run(RUN) == record()


def test_text_that_no_encoding_can_hold_is_kept_with_a_replacement(journal: Journal) -> None:
    journal.create_run(
        record(source="half \ud83d, whole \ud83e\udd16.csv", sheet={"\ud800": ["\udfff", {"deep": "\ud800"}]})
    )
    found = journal.get_run(RUN)
    assert found is not None
    assert found.source == "half �, whole 🤖.csv"
    assert found.sheet == {"�": ["�", {"deep": "�"}]}


def test_a_run_that_is_not_there_is_named(journal: Journal) -> None:
    assert journal.get_run(RUN) is None
    for call in (
        lambda: journal.update_run(RUN, message="x"),
        lambda: journal.counts(RUN),
        lambda: journal.settle(RUN, []),
    ):
        with pytest.raises(StateError, match=RUN):
            call()


def test_one_id_names_one_run(journal: Journal) -> None:
    journal.create_run(record())
    with pytest.raises(StateError):
        journal.create_run(record(message="second"))
    assert journal.get_run(RUN) == record()


def test_runs_are_listed_newest_first_also_where_the_clock_was_set_back(journal: Journal) -> None:
    """The newest one is that which ``undo last`` undoes."""
    for number, at in enumerate([30.0, 10.0, 20.0, 20.0]):
        journal.create_run(record(f"run-{number}", created_at=at))
    assert [found.run_id for found in journal.list_runs()] == ["run-3", "run-2", "run-1", "run-0"]
    assert [found.run_id for found in journal.list_runs(2)] == ["run-3", "run-2"]
    assert [found.run_id for found in run_page(journal)[0]] == ["run-3", "run-2", "run-1", "run-0"]
    assert journal.list_runs(0) == []


def test_a_run_is_found_by_the_beginning_of_its_id(journal: Journal) -> None:
    journal.create_run(record("20260131-081500-abcd"))
    journal.create_run(record("20260131-081500-abce"))
    journal.create_run(record("20260201-081500-abcd"))
    found = journal.find_run(" 20260201 ")
    assert found is not None
    assert found.run_id == "20260201-081500-abcd"
    assert journal.find_run("20260131-081500-ABCE") == record("20260131-081500-abce")
    assert journal.find_run("2027") is None
    assert journal.find_run("") is None
    with pytest.raises(UsageError, match=r"'20260131'.*20260131-081500-abce, 20260131-081500-abcd\."):
        journal.find_run("20260131")


def test_a_whole_id_is_found_although_another_begins_with_it(journal: Journal) -> None:
    journal.create_run(record("20260131-081500-abcd"))
    journal.create_run(record("20260131-081500-abcd2"))
    assert journal.find_run("20260131-081500-abcd") == record("20260131-081500-abcd")


@pytest.mark.parametrize("text", ["%", "_", "2026%", "20260131_"])
def test_wildcards_find_nothing(journal: Journal, text: str) -> None:
    journal.create_run(record())
    assert journal.find_run(text) is None


def test_a_long_list_of_candidates_is_cut(journal: Journal) -> None:
    for number in range(8):
        journal.create_run(record(f"run-{number}"))
    with pytest.raises(UsageError, match=r"run-7, run-6, run-5, run-4, run-3, \.\.\."):
        journal.find_run("run")


def test_an_id_shows_its_time_in_utc() -> None:
    for now in (1_769_847_300.0, 1_769_847_300.9, 1_769_847_300.9999995):  # never the next second
        assert new_run_id(now, Random(1)).startswith("20260131-081500-")
    assert len(new_run_id(0.0)) == len("20260131-081500-x7k2")


@given(st.floats(0, 4e9), st.floats(0, 4e9), st.integers())
def test_ids_sort_by_time(first: float, second: float, seed: int) -> None:
    random = Random(seed)
    one, two = new_run_id(first, random), new_run_id(second, random)
    if int(first) < int(second):
        assert one < two
    assert one == one.lower()
    assert not set(one[16:]) & set("01oil")


def test_ids_of_one_moment_differ() -> None:
    random = Random(7)
    assert len({new_run_id(5.0, random) for _ in range(50)}) == 50
