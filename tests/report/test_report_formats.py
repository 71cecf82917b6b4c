"""The table of formats: one entry, from outside the package too, is all that a new format needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bulkid.config import parse
from bulkid.config.parse import InvalidValueError
from bulkid.report import formats
from bulkid.report.formats import FORMATS, ReportFormat, register
from bulkid.report.writer import remove_report
from tests.support.names_format import NAMES, NamesFile
from tests.support.report_data import a_row, a_run, write

ROOT = Path(__file__).resolve().parents[2]
AS_A_PACKAGE_OF_ITS_OWN = """
import json, sys
from bulkid.report.formats import register
from tests.support.names_format import NAMES
register(NAMES)
from bulkid.config.settings import setting
from bulkid.jobfile.schema import job_schema
from bulkid.web.api import OPERATIONS
from bulkid.web.api_models import document
json.dump([setting("formats").metavar, job_schema(), document(OPERATIONS)], sys.stdout)
"""


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", dict(FORMATS))
    register(NAMES)


@pytest.mark.usefixtures("names")
def test_a_format_from_outside_is_a_choice_is_written_listed_and_removed(tmp_path: Path) -> None:
    assert parse.formats("names; jsonl") == ("names", "jsonl")
    run = a_run()
    folder = tmp_path / run.run_id
    folder.mkdir()
    written = write(folder, [a_row(2), a_row(3, name="zoe")], formats=("names",))
    assert (folder / "names.txt").read_text(encoding="utf-8") == "roby\nzoe\n"
    assert [path.name for path in written.files] == ["report.csv", "names.txt", "summary.json"]
    (folder / "names-2.txt").write_text("held open", encoding="utf-8")
    (folder / f".names.txt.{'0a' * 4}.tmp").write_text("unfinished", encoding="utf-8")
    removed = remove_report(folder, run.run_id)
    assert (removed.kept, folder.exists()) == ("", False)


def test_without_its_entry_it_is_none_of_bulkids(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="not a valid value"):
        parse.formats("names")
    folder = tmp_path / a_run().run_id
    folder.mkdir()
    (folder / "names.txt").write_text("mine", encoding="utf-8")
    assert "names.txt" in remove_report(folder, folder.name).kept
    assert (folder / "names.txt").exists()


def in_a_new_process(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_settings_job_files_and_the_api_take_a_format_from_outside() -> None:
    metavar, schema, document = json.loads(in_a_new_process(AS_A_PACKAGE_OF_ITS_OWN))
    assert metavar == "csv|xlsx|jsonl|names"
    assert "csv, xlsx, jsonl or names" in json.dumps(schema)
    kinds = [
        parameter["schema"]["enum"]
        for path in document["paths"].values()
        for operation in path.values()
        for parameter in operation.get("parameters", ())
        if parameter["name"] == "kind"
    ]
    assert kinds == [["csv", "xlsx", "jsonl", "retry", "names"]]


def test_the_table_is_read_without_the_libraries_that_write() -> None:
    script = "import sys, bulkid.config.settings; print(*sys.modules)"
    loaded = set(in_a_new_process(script).split())
    assert "bulkid.report.formats" in loaded
    assert not loaded & {"bulkid.report.writer", "bulkid.sheet", "xlsxwriter", "orjson", "prometheus_client"}


@pytest.mark.parametrize("changes", [{"name": "csv"}, {"file_name": "retry.csv"}, {"file_name": "summary.json"}])
def test_no_two_formats_have_one_name_or_file(changes: dict[str, str]) -> None:
    entry = {"name": "x", "file_name": "x.txt", "media_type": "text/plain", "purpose": "none", "begin": NamesFile}
    with pytest.raises(ValueError, match="already"):
        register(ReportFormat(**{**entry, **changes}))  # type: ignore[arg-type]  # a dict of differing values


@pytest.mark.parametrize("file_name", ["../x.txt", "x", "a/b.txt", "x.t\n", ".x", ""])
def test_a_format_has_a_plain_file_name(file_name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        register(ReportFormat(name="x", file_name=file_name, media_type="text/plain", purpose="none", begin=NamesFile))
