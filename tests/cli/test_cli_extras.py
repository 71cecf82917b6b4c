"""A command whose extra is missing says in one sentence what to install, and does nothing else."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from bulkid import runs
from bulkid.errors import EXIT_OK, EXIT_USAGE
from bulkid.extras import EXTRAS, MissingExtraError
from tests.support.bulkid_command import SAMPLES, Bulkid

SHEET = str(SAMPLES / "robot_accounts.csv")
SERVICE = "json://127.0.0.1:9/hook"
URL = "postgresql://bulkid@127.0.0.1:9/bulkid"


class _Blocked:
    """A finder that finds none of some modules, as where they are not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002 - importlib's
        if name.split(".", maxsplit=1)[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def _without(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = EXTRAS[extra]
    for loaded in [each for each in sys.modules if each.split(".")[0] in names]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "meta_path", [_Blocked(names), *sys.meta_path])


@pytest.fixture
def bulkid(tmp_path: Path) -> Bulkid:
    return Bulkid(tmp_path)


CASES: list[tuple[str, str, tuple[str, ...], dict[str, str]]] = [
    ("console", "The web console", ("serve", "--sandbox"), {}),
    ("console", "The web console", ("users", "add", "ada"), {}),
    ("console", "The web console", ("users", "list"), {}),
    ("metrics", "A file of metrics", ("run", SHEET, "--sandbox", "--yes", "--metrics-file", "bulkid.prom"), {}),
    ("notify", "A notification", ("serve", "--sandbox"), {"BULKID_NOTIFY_SUCCESS": SERVICE}),
    ("notify", "A notification", ("run", SHEET, "--sandbox", "--yes"), {"BULKID_NOTIFY_FAILURE": SERVICE}),
    ("notify", "A notification", ("run", "nightly.toml"), {"BULKID_NOTIFY_ALWAYS": SERVICE}),
    ("postgres", "The state in PostgreSQL (BULKID_DATABASE_URL)", ("runs",), {"BULKID_DATABASE_URL": URL}),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{each[0]}: {' '.join(each[2][:2])[-20:]}" for each in CASES])
def test_a_command_without_its_extra_says_what_to_install(
    bulkid: Bulkid, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, tuple[str, ...], dict[str, str]]
) -> None:
    extra, purpose, arguments, env = case
    (bulkid.folder / "nightly.toml").write_text(f'name = "n"\nyes = true\nsandbox = true\nsource = {SHEET!r}\n')
    bulkid.env.update(env)
    _without(extra, monkeypatch)
    done = bulkid(*arguments)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    advice = f'install them with: pip install "bulkid[{extra}]"'
    assert done.stderr == f"bulkid: {purpose} needs packages that are not installed; {advice}\n"
    assert {each.name for each in bulkid.folder.iterdir()} <= {"nightly.toml", "state"}  # no report, no metrics


def test_a_run_without_its_extra_is_in_no_list_of_runs(bulkid: Bulkid, monkeypatch: pytest.MonkeyPatch) -> None:
    _without("notify", monkeypatch)
    bulkid.env.update(BULKID_NOTIFY_FAILURE=SERVICE)
    assert bulkid("run", SHEET, "--sandbox", "--yes").returncode == EXIT_USAGE
    assert runs.list_runs(bulkid.folder / "state") == []


def test_an_undo_without_its_extra_does_not_begin(bulkid: Bulkid, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bulkid("run", SHEET, "--sandbox", "--yes", "--first", "1").returncode == EXIT_OK
    _without("metrics", monkeypatch)
    done = bulkid("undo", "last", "--sandbox", "--yes", "--metrics-file", "bulkid.prom")
    assert done.returncode == EXIT_USAGE
    assert 'pip install "bulkid[metrics]"' in done.stderr
    assert len(runs.list_runs(bulkid.folder / "state")) == 1


def test_what_needs_no_extra_runs_without_any(bulkid: Bulkid, monkeypatch: pytest.MonkeyPatch) -> None:
    for extra in EXTRAS:
        _without(extra, monkeypatch)
    assert bulkid("run", SHEET, "--sandbox", "--yes").returncode == EXIT_OK
    assert bulkid("export", "accounts.csv", "--sandbox").returncode == EXIT_OK
    assert bulkid("plan", "accounts.csv", "--sandbox").returncode == EXIT_OK


def test_doctor_names_the_missing_extra_among_its_findings(bulkid: Bulkid, monkeypatch: pytest.MonkeyPatch) -> None:
    _without("notify", monkeypatch)
    bulkid.env.update(BULKID_NOTIFY_FAILURE=SERVICE)
    done = bulkid("doctor", "--sandbox")
    assert done.returncode == EXIT_USAGE
    assert "notify" in done.stdout
    assert 'pip install "bulkid[notify]"' in done.stdout


def test_the_library_s_page_of_metrics_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _without("metrics", monkeypatch)
    with pytest.raises(MissingExtraError, match=r"bulkid\[metrics\]"):
        runs.metrics(tmp_path)
