"""``bulkid runs --prune``: what was dropped, what was kept and why, and how much room that made."""

from bulkid import runs as library
from bulkid.cli import render
from bulkid.cli.commands import _print_json
from bulkid.cli.library_options import database_url_of
from bulkid.config import Settings, parse_age
from bulkid.errors import EXIT_OK, UsageError
from bulkid.planning import count_of


def prune(settings: Settings, older_than: str | None, *, with_pending: bool, dry: bool, json: bool) -> int:
    """Drop old runs and say so.

    Raises:
        UsageError: No age, or one that cannot be read.
    """
    if older_than is None:
        raise UsageError(
            "--prune-pending and --dry-run say how to prune, but not from which age on.", hint="Add --prune 90d."
        )
    result = library.prune(
        parse_age(older_than, "option --prune"),
        state_dir=settings.state_dir,
        database_url=database_url_of(settings),
        with_pending=with_pending,
        dry=dry,
    )
    render.print_notes(render.console(stderr=True), result.notes)
    if json:
        _print_json(
            {
                "dry_run": dry,
                "dropped": [record.run_id for record in result.dropped],
                "kept_pending": [record.run_id for record in result.pending],
                "kept_under_way": [record.run_id for record in result.active],
                "freed_bytes": result.freed,
                "notes": list(result.notes),
            }
        )
        return EXIT_OK
    out = render.console(stderr=False)
    for record in result.dropped:
        out.print(f"{record.run_id}  {record.status.value.replace('_', ' ')}  {record.source}")
    for line in _result_lines(result, dry=dry):
        out.print(line)
    return EXIT_OK


def _result_lines(result: library.Pruned, *, dry: bool) -> list[str]:
    dropped = count_of(len(result.dropped), "run")
    if dry:
        lines = [f"{dropped} would be dropped."]
    else:
        lines = [f"{dropped} dropped, which made {result.freed / 1_000_000:.1f} MB of room."]
    if result.pending:
        kept = f"{count_of(len(result.pending), 'old run')} kept: rows are pending"
        lines.append(f"{kept}. Go on with bulkid resume, or drop them too with --prune-pending.")
    if result.active:
        lines.append(f"{count_of(len(result.active), 'old run')} kept: under way.")
    return lines
