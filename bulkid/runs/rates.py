"""How fast runs settle accounts, against the quota: read from the journal, summed up by its database."""

from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from typing import Final

from bulkid.errors import UsageError
from bulkid.identity.urls import complete_url, preset_quota
from bulkid.journal.queries import newest_organization, settled_by_interval, settled_spans
from bulkid.journal.store import Journal
from bulkid.model import QuotaRule, RunRecord, Via
from bulkid.report.rate import NOUNS, Rate, Settled, intervals, rate, slowest
from bulkid.runs.options import RunOptions, Target
from bulkid.runs.run_records import load_options
from bulkid.text import dashed_guid

RECENT_S: Final = 3600.0
"""Seconds that :func:`recent_rates` looks back."""


def run_rates(journal: Journal, record: RunRecord) -> tuple[Rate, ...]:
    """The rate of a run for each method, from its first request to its last settled account.

    A method whose requests have settled no account has none.
    """
    spans, rules, found = settled_spans(journal, record.run_id), _rules_of(record), []
    for method in NOUNS:
        if method in spans:
            cut = intervals(*spans[method], slowest(rules, method))
            counts = settled_by_interval(journal, cut.start, cut.step_ms, run_id=record.run_id, method=method)
            found.append(rate(cut, _settled(counts, in_bulk=method == "DELETE"), method=method))
    return tuple(found)


def recent_rates(journal: Journal, target: Target, options: RunOptions, now: float) -> tuple[Rate, ...]:
    """The rate of all runs on the target's organisation over the last hour, which ends ``now``, for each method.

    A method whose requests have settled no account has none, except PUT. Where the target does not name the
    organisation, it is that of the newest run on its server; where there is no such run, there is no rate.
    """
    rules = _rules(options.quota, target.url)
    organization_id = dashed_guid(target.organization_id) or newest_organization(journal, _address(target.url))
    if not organization_id:
        return ()
    rates = [_recent_rate(journal, organization_id, rules, method, now) for method in NOUNS]
    return tuple(each for each in rates if each.method == "PUT" or any(map(sum, each.points)))


def _recent_rate(journal: Journal, organization_id: str, rules: tuple[QuotaRule, ...], method: str, now: float) -> Rate:
    cut = intervals(now - RECENT_S, now, slowest(rules, method))
    before = replace(cut, start=cut.start - cut.window_s)  # what the first points count as well
    found = settled_by_interval(journal, before.start, before.step_ms, organization_id=organization_id, method=method)
    count = before.per_window + int(RECENT_S * 1000 // cut.step_ms)
    in_bulk = method == "DELETE"
    known = {number: settled for number, settled in _settled(found, in_bulk=in_bulk).items() if number < count}
    return Rate(cut, rate(before, known, count).points[before.per_window :], method)


def _settled(counts: list[tuple[int, Via, int]], *, in_bulk: bool = False) -> dict[int, Settled]:
    """The counts by interval; ``in_bulk``: one request, which the quota counts once, settles many accounts."""
    found: dict[int, Settled] = defaultdict(Settled)
    for number, via, count in counts:
        own = via is Via.ACCOUNT and not in_bulk
        before = found[number]
        found[number] = Settled(before.by_account + count * own, before.by_group + count * (not own))
    return dict(found)


def _rules_of(record: RunRecord) -> tuple[QuotaRule, ...]:
    """The quota of a run: its own, or the preset of its server."""
    return _rules(load_options(record.options).quota, record.base_url)


def _rules(given: tuple[QuotaRule, ...] | None, url: str) -> tuple[QuotaRule, ...]:
    if given is not None:
        return given
    with suppress(UsageError):  # the address of an older run may be one that is refused today
        return preset_quota(complete_url(url))
    return ()


def _address(url: str) -> str:
    """The address as runs keep it; empty for one that is refused."""
    with suppress(UsageError):
        return complete_url(url).url
    return ""
