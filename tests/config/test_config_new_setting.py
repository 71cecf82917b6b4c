"""A new setting is one entry of the table: every place that knows settings takes it from there."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

from bulkid.cli.options import with_settings
from bulkid.config import parse
from bulkid.config.parse import Secret
from bulkid.config.resolve import load_settings, unknown_variables
from bulkid.config.settings import GENERAL, OUTPUT, SETTINGS, Settings, SettingsTable
from bulkid.errors import UsageError
from bulkid.jobfile.read import JobFileError, read_job
from bulkid.jobfile.schema import job_model, job_schema
from tests.support.docs_tables import settings_table


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedSettings(Settings):
    """Settings with three more, as an edit of ``bulkid/config/settings.py`` would add them."""

    copies: int | None = OUTPUT.setting(
        None, "copies to print", parse.integer(1, 9), "a whole number from 1 to 9", commands=("check", "report")
    )
    paper: Literal["a4", "letter"] = OUTPUT.setting("a4", "size of the paper", commands=("report",))
    printer_pin: Secret | None = GENERAL.setting(  # noqa: RUF009 - it makes a dataclass field
        None, "number that the printer asks for", parse.secret, "a number", option="", secret=True
    )


@pytest.fixture(autouse=True)
def _with_the_new_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in vars(SettingsTable(PrintedSettings)).items():
        monkeypatch.setattr(SETTINGS, name, value)
    job_model.cache_clear()
    yield
    job_model.cache_clear()


def load(folder: Path, options: dict[str, object] | None = None, **environ: str) -> PrintedSettings:
    loaded = load_settings(options or {}, environ=environ, cwd=folder, config_dir=folder / "config")
    assert isinstance(loaded, PrintedSettings)
    return loaded


def on_the_command_line(command: str, *arguments: str) -> tuple[list[Settings], str]:
    """Call a command that takes the options of ``command``; return the settings that it got, and its output."""
    seen: list[Settings] = []

    @with_settings(command)
    def call(*, settings: Settings) -> int:
        seen.append(settings)
        return 0

    app = typer.Typer()
    app.command()(call)
    return seen, CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, catch_exceptions=False).output


def test_it_is_an_option_of_the_commands_that_its_entry_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = on_the_command_line("check", "--help")[1]
    assert "--copies" in shown
    assert "Copies to print." in shown
    assert "--paper" not in shown
    shown = on_the_command_line("report", "--help")[1]
    assert "a4|letter" in shown
    assert "Default: a4." in shown
    assert "--copies" not in on_the_command_line("run", "--help")[1]
    assert "pin" not in on_the_command_line("report", "--help")[1]
    ((settings,), _) = on_the_command_line("report", "--copies", "3", "--paper", "Letter")
    assert (settings.copies, settings.paper) == (3, "letter")  # type: ignore[attr-defined]


def test_it_is_a_variable(tmp_path: Path) -> None:
    assert load(tmp_path).copies is None
    assert load(tmp_path).paper == "a4"
    assert load(tmp_path, BULKID_COPIES="4").copies == 4
    assert load(tmp_path, {"copies": "2"}, BULKID_COPIES="4").copies == 2
    unknown = unknown_variables({"BULKID_COPIES": "4", "BULKID_COPYS": "4"})
    assert list(unknown) == ["BULKID_COPYS"]
    assert unknown["BULKID_COPYS"][0] == "BULKID_COPIES"
    with pytest.raises(UsageError, match="environment variable BULKID_COPIES: '10' is out of range") as refused:
        load(tmp_path, BULKID_COPIES="10")
    assert refused.value.hint == "Give a whole number from 1 to 9."


def test_it_is_a_key_of_bulkid_toml(tmp_path: Path) -> None:
    (tmp_path / "bulkid.toml").write_text("[default]\ncopies = 5\npaper = 'letter'\n", encoding="utf-8")
    assert (load(tmp_path).copies, load(tmp_path).paper) == (5, "letter")
    (tmp_path / "bulkid.toml").write_text("[default]\nprinter_pin = '1'\n", encoding="utf-8")
    with pytest.raises(UsageError, match="key printer_pin is a secret"):
        load(tmp_path)


def test_it_is_a_key_of_job_files_and_of_their_schema(tmp_path: Path) -> None:
    job = tmp_path / "night.toml"
    job.write_text('source = "robots.csv"\ncopies = 6\n', encoding="utf-8")
    loaded = read_job(str(job)).load({}, environ={}, cwd=tmp_path, config_dir=tmp_path / "config")
    assert isinstance(loaded, PrintedSettings)
    assert loaded.copies == 6
    job.write_text('source = "robots.csv"\ncopies = "many"\n', encoding="utf-8")
    with pytest.raises(
        JobFileError, match=r"key copies: 'many' is not a whole number\. Give a whole number from 1 to 9"
    ):
        read_job(str(job))
    keys = job_schema()["properties"]
    assert keys["copies"] == {"type": "integer", "description": "Copies to print: a whole number from 1 to 9."}
    assert keys["paper"]["enum"] == ["a4", "letter"]
    assert "printer_pin" not in keys


def test_it_is_a_line_of_the_docs() -> None:
    lines = settings_table(SETTINGS).splitlines()
    assert "| `--copies` | `BULKID_COPIES` | `copies` | Copies to print: a whole number from 1 to 9 |  |" in lines
    assert "| `--paper` | `BULKID_PAPER` | `paper` | Size of the paper: a4 or letter | a4 |" in lines
    assert "|  | `BULKID_PRINTER_PIN` |  | Number that the printer asks for: a number |  |" in lines


def test_nothing_else_changes() -> None:
    added = {"copies", "paper", "printer_pin"}
    assert [entry.name for entry in SETTINGS if entry.name not in added] == [
        each.name for each in fields(Settings) if each.name != "sources"
    ]
