"""The settings of a command reach the library, each in its own field."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bulkid.cli.library_options import (
    context_of,
    database_url_of,
    options_of,
    schedule_of,
    serve_options_of,
    target_of,
)
from bulkid.config.parse import Secret
from bulkid.config.settings import SETTINGS, Setting, Settings
from bulkid.model import FailureBound

OF_THE_COMMAND_LINE = {"profile", "yes", "json", "quiet", "verbose", "log_format"}
"""Settings that decide what a command reads, asks and prints, and that the library does not have."""


def passed_on(settings: Settings) -> dict[str, Any]:
    """Every field that the library is given, but for the objects that each command makes anew."""
    made = (target_of, options_of, context_of, schedule_of, serve_options_of)
    values = {
        (make.__name__, each.name): getattr(make(settings), each.name)
        for make in made
        for each in fields(make(settings))
    }
    return {
        f"{maker}.{name}": value
        for (maker, name), value in values.items()
        if name not in {"hooks", "stop", "clock", "organization_mutex"}
    }


def changed_by(entry: Setting) -> list[str]:
    value: object = Secret("json://localhost/a") if entry.secret else object()
    before, after = passed_on(Settings()), passed_on(replace(Settings(), **{entry.name: value}))
    return [name for name in before if before[name] != after[name]]


def test_every_setting_reaches_the_library_unless_it_is_the_command_line_s_own() -> None:
    unused = {entry.name for entry in SETTINGS if not changed_by(entry)}
    secret_files = {f"{entry.name}_file" for entry in SETTINGS if entry.secret}  # read when the settings are loaded
    assert unused == OF_THE_COMMAND_LINE | secret_files


def test_a_setting_whose_field_is_called_otherwise_reaches_that_field() -> None:
    moved = {
        "no_read": ["options_of.read"],
        "timeout": ["options_of.timeout_s"],
        "wait": ["context_of.wait_s"],
        "time_zone": ["schedule_of.zone"],
        "max_duration": ["schedule_of.max_duration_s"],
        "keep_audit": ["serve_options_of.keep_audit_s"],
        "serve_host": ["serve_options_of.host"],
        "serve_port": ["serve_options_of.port"],
        "encoding": ["options_of.sheet"],
        "notify_always": ["context_of.after"],
        "metrics_file": ["context_of.after"],
    }
    entries = {entry.name: entry for entry in SETTINGS}
    assert {name: changed_by(entries[name]) for name in moved} == moved


def test_values_arrive_as_they_are_and_secrets_revealed(tmp_path: Path) -> None:
    given = Settings(
        url="https://host/identity",
        client_secret=Secret("hush"),
        database_url=Secret("postgresql://host/db"),
        quota=(),
        rate=2.5,
        max_failures=FailureBound(3),
        no_read=True,
        state_dir=tmp_path,
        timeout=7.0,
    )
    target, options, context = target_of(given), options_of(given), context_of(given)
    assert (target.url, target.client_secret, target.scope) == ("https://host/identity", "hush", "")
    assert (options.quota, options.rate, options.read, options.timeout_s) == ((), 2.5, False, 7.0)
    assert options.max_failures == FailureBound(3)
    assert (context.state_dir, context.database_url) == (tmp_path, database_url_of(given))
    assert target_of(Settings()).url == ""
