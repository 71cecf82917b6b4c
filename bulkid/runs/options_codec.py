"""A run's options as JSON in the journal, so that ``resume`` goes on as the run was begun."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bulkid.model import ChangeBound, FailureBound, QuotaRule
from bulkid.runs.inputs.sheet import Source
from bulkid.runs.options import RunOptions
from bulkid.sheet import SheetOptions

_PLAIN = (
    *("skip_invalid", "read", "rate", "concurrency", "max_attempts", "timeout_s", "sandbox"),
    *("retry_base_s", "outage_limit_s", "via", "group_batch", "first", "job"),
)


def dump_options(options: RunOptions, source: Source) -> dict[str, Any]:
    """What ``resume`` needs, as JSON. Holds no secret: options never do.

    What a person agreed to once (``yes_really``, like the confirmation itself) is not kept: a run that ended before
    its plan was confirmed asks for it again.
    """
    quota = None if options.quota is None else [[rule.method, rule.count, rule.seconds] for rule in options.quota]
    path = str(Path(source).absolute()) if isinstance(source, str | Path) else ""
    return {
        **{name: getattr(options, name) for name in _PLAIN},
        "sheet": {**asdict(options.sheet), "column_map": dict(options.sheet.column_map)},
        "quota": quota,
        "max_failures": asdict(options.max_failures) if options.max_failures else None,
        "max_change": asdict(options.max_change) if options.max_change else None,
        "formats": list(options.formats),
        "authors": list(options.authors),
        "path": path,
    }


def load_options(stored: Mapping[str, Any]) -> RunOptions:
    """The options as :func:`dump_options` wrote them."""
    sheet = {**stored.get("sheet", {})}
    sheet["ignore_columns"] = tuple(sheet.get("ignore_columns", ()))
    quota = stored.get("quota")
    bound, change = stored.get("max_failures"), stored.get("max_change")
    return RunOptions(
        **{name: stored[name] for name in _PLAIN if name in stored},
        sheet=SheetOptions(**sheet),
        quota=None if quota is None else tuple(QuotaRule(method, count, seconds) for method, count, seconds in quota),
        max_failures=FailureBound(**bound) if bound else None,
        max_change=ChangeBound(**change) if change else None,
        formats=tuple(stored.get("formats", ())),
        authors=tuple(stored.get("authors", ())),
    )
