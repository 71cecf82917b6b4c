"""What a job file may hold, the errors of other content, and the settings that override it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.config.settings import SETTINGS
from bulkid.errors import UsageError
from bulkid.jobfile import is_job_file
from bulkid.jobfile.read import JobFile, JobFileError, read_job
from bulkid.jobfile.schema import job_schema
from bulkid.runs import DropFolder
from tests.support.docs_tables import job_table

ROOT = Path(__file__).resolve().parents[2]
SHEET = 'source = "robots.csv"\n'


class Desk:
    """A folder for job files, apart from the working directory and the user's configuration."""

    def __init__(self, root: Path) -> None:
        self.jobs, self.cwd, self.config = root / "jobs", root / "work", root / "user"
        for folder in (self.jobs, self.cwd, self.config):
            folder.mkdir()

    def write(self, text: str) -> str:
        path = self.jobs / "night.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    def read(self, text: str) -> JobFile:
        return read_job(self.write(text))

    def load(self, text: str, options: dict[str, Any] | None = None, **environ: str) -> Any:
        return self.read(text).load(options or {}, environ=environ, cwd=self.cwd, config_dir=self.config)

    def refusal(self, text: str) -> str:
        with pytest.raises(JobFileError) as caught:
            self.read(text)
        assert caught.value.exit_code == 2
        return caught.value.message


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_job_is_known_by_its_file_unless_it_has_a_name(desk: Desk) -> None:
    assert desk.read(SHEET).name == "night"
    job = desk.read(f'name = " Groups "\ndescription = "Every night."\n{SHEET}')
    assert (job.name, job.description) == ("Groups", "Every night.")


def test_every_path_starts_at_the_job_file(desk: Desk) -> None:
    text = SHEET + 'report_dir = "out"\nstate_dir = "state"\nclient_secret_file = "s"\nmetrics_file = "m.prom"\n'
    (desk.jobs / "s").write_text("hush", encoding="utf-8")
    job, settings = desk.read(text), desk.load(text)
    assert job.source == desk.jobs / "robots.csv"
    assert settings.metrics_file == desk.jobs / "m.prom"
    assert settings.report_dir == desk.jobs / "out"
    assert settings.state_dir == desk.jobs / "state"
    assert settings.client_secret.reveal() == "hush"


def test_a_drop_folder_says_what_it_takes_and_when_that_is_complete(desk: Desk) -> None:
    assert desk.read('[source]\nfolder = "inbox"').source == DropFolder(desk.jobs / "inbox", "*", 10.0)
    said = desk.read('source = { folder = "/in", glob = "*.xlsx", settle = 2 }').source
    assert said == DropFolder(Path("/in").absolute(), "*.xlsx", 2.0)


def test_the_layers_stand_in_their_order_and_say_where_a_value_came_from(desk: Desk) -> None:
    (desk.cwd / "bulkid.toml").write_text(
        "[default]\nrate = 1\ntimeout = 7\n[profiles.acme]\nrate = 2\nconcurrency = 4\nmax_attempts = 9\n"
    )
    text = SHEET + 'profile = "acme"\nrate = 3\nconcurrency = 5\nfirst = 10\n'
    settings = desk.load(text, {"rate": "5"}, BULKID_RATE="4", BULKID_FIRST="11")
    place = desk.jobs / "night.toml"
    reported = {name: (getattr(settings, name), settings.sources[name]) for name in ("rate", "first", "concurrency")}
    assert reported == {
        "rate": (5.0, "option --rate"),
        "first": (11, "environment variable BULKID_FIRST"),
        "concurrency": (5, f"job file {place}, key concurrency"),
    }
    assert settings.sources["max_attempts"].startswith("profile acme in ")
    assert settings.sources["timeout"].startswith("table [default] in ")
    assert settings.sources.get("yes") is None


FOR_JOBS = [line for line in SETTINGS if line.in_job]


@pytest.mark.parametrize("line", FOR_JOBS, ids=lambda line: line.key)
def test_every_setting_is_a_key_and_is_checked_as_it_is_elsewhere(line: Any, desk: Desk) -> None:
    message = desk.refusal(f"{line.key} = 1979-05-27\n{SHEET}")
    assert f"key {line.key}: " in message
    assert line.allowed in message
    assert line.key in job_schema()["properties"]


def test_a_job_has_no_say_in_where_the_console_is_served(desk: Desk) -> None:
    assert "unknown key 'serve_host'" in desk.refusal(f'serve_host = "0.0.0.0"\n{SHEET}')


def test_all_faults_are_reported_at_once_each_with_key_value_and_what_is_allowed(desk: Desk) -> None:
    message = desk.refusal(
        'qouta = "PUT=1/2"\nrate = "fast"\nwindow = "22-05"\n'
        '[source]\nfolder = "in"\nsettle = -1\nglob = "a/*.csv"\n[notify]\nsucces = "x"\n'
    )
    assert "night.toml: 6 things cannot be used" in message
    for words in (
        "unknown key 'qouta'. Did you mean quota?",
        "key rate: 'fast' is not a number. Give a number from 0.001 to 100000",
        "key window: '22-05' is not of the form HH:MM-HH:MM. Give HH:MM-HH:MM, such as 22:00-05:30",
        "key source.settle: -1 is out of range. Give seconds, from 0 to 3600.",
        "key source.glob: 'a/*.csv' holds a folder",
        "unknown key 'notify.succes'. Did you mean success?",
    ):
        assert words in message


def test_what_must_be_there_is_missed_by_name(desk: Desk) -> None:
    assert "key source is missing." in desk.refusal('name = "x"')
    assert "key source.folder is missing. Give the path of a folder." in desk.refusal('[source]\nglob = "*"')
    assert "key notify: the value is not a table. Write it as [notify]." in desk.refusal(SHEET + 'notify = "me"')


def test_a_setting_may_be_written_as_elsewhere_but_once(desk: Desk) -> None:
    assert desk.load(SHEET + 'formats = ["xlsx"]\nmax-attempts = 3\n').formats == ("xlsx",)
    assert "format is given twice." in desk.refusal(SHEET + 'formats = ["xlsx"]\nformat = "jsonl"\n')


HUSH = "hush-hush-1234"


@pytest.mark.parametrize(
    "key",
    [
        *("client_secret", "access_token", "client-secret", "client_secret_env", "access_token_env"),
        *("client_secert", "password", "notify.always", "notify.token"),
    ],
)
def test_a_secret_in_the_file_is_refused_without_a_word_of_it(key: str, desk: Desk) -> None:
    message = desk.refusal(f'{SHEET}{key} = "{HUSH}"\n')
    assert key.rpartition(".")[2] in message
    assert HUSH not in message


def test_a_secret_in_the_file_is_reported_with_the_places_where_it_belongs(desk: Desk) -> None:
    message = desk.refusal(f'{SHEET}client_secret = "{HUSH}"\n')
    assert "is a secret, and a job file holds none" in message
    assert "client_secret_env" in message
    assert "client_secret_file" in message


def test_a_password_in_the_address_of_a_service_is_refused_and_not_shown(desk: Desk) -> None:
    message = desk.refusal(f'{SHEET}notify.always = "mailto://me:{HUSH}@example.com"\n')
    assert "an address holds a password or a token, and a job file holds none" in message
    assert HUSH not in message


def test_the_address_of_a_service_is_not_shown_and_advice_names_what_a_job_has(desk: Desk) -> None:
    assert "a-token" not in desk.refusal(SHEET + 'notify = "slack://a-token/b-token/c-token"')
    message = desk.refusal(SHEET + 'database_url = "postgresql://ada:hush@host/db"')
    assert "the environment variable BULKID_DATABASE_URL, or into a file and its path into database_url_file" in message


def test_a_secret_comes_from_the_variable_that_the_file_names(desk: Desk) -> None:
    text = SHEET + 'client_secret_env = "ACME_SECRET"\n'
    settings = desk.load(text, ACME_SECRET=HUSH)
    assert settings.client_secret.reveal() == HUSH
    assert settings.sources["client_secret"] == f"job file {desk.jobs / 'night.toml'}, key client_secret_env"
    assert desk.load(text, BULKID_CLIENT_SECRET="other").client_secret.reveal() == "other"


def test_a_variable_that_is_not_set_is_reported_by_the_key_that_names_it(desk: Desk) -> None:
    job = desk.read(SHEET + 'client_secret_env = "ACME_SECRET"\n')
    with pytest.raises(UsageError) as caught:
        job.load({}, environ={}, cwd=desk.cwd, config_dir=desk.config)
    assert "key client_secret_env: the variable that it names is not set." in str(caught.value)
    assert job.load({}, environ={}, cwd=desk.cwd, config_dir=desk.config, offline=True).client_secret is None


def test_one_secret_has_one_place(desk: Desk) -> None:
    message = desk.refusal(SHEET + 'client_secret_env = "A"\nclient_secret_file = "b"\n')
    assert "client_secret_file is given too. Give one of them." in message


def test_addresses_come_from_where_the_file_says_and_are_never_shown(desk: Desk) -> None:
    text = f'{SHEET}[notify]\nsuccess = "env:HOOK"\nfailure = ["file:hook", "env:HOOK"]\n'
    (desk.jobs / "hook").write_text(f"json://x.example.com/{HUSH}\n", encoding="utf-8")
    settings = desk.load(text, HOOK=f"json://y.example.com/{HUSH}")
    assert settings.notify_success.reveal() == f"json://y.example.com/{HUSH}"
    assert settings.notify_failure.reveal().split() == [f"json://{host}.example.com/{HUSH}" for host in "xy"]
    assert settings.sources["notify_failure"] == f"job file {desk.jobs / 'night.toml'}, key notify.failure"
    assert HUSH not in repr(settings)
    assert desk.load(
        text, BULKID_NOTIFY_SUCCESS="json://other.example.com", HOOK="json://y"
    ).notify_success.reveal() == ("json://other.example.com")


def test_an_address_in_the_file_itself_is_refused_and_not_shown(desk: Desk) -> None:
    for text in (f'[notify]\nfailure = "json://x/{HUSH}"\n', f'notify_failure = "json://x/{HUSH}"\n'):
        message = desk.refusal(SHEET + text)
        assert "notify" in message
        assert HUSH not in message


@pytest.mark.parametrize(("name", "is_one"), [("a.toml", True), ("A.TOML", True), ("a.csv", False), ("-", False)])
def test_a_job_file_is_known_by_its_extension(name: str, is_one: bool) -> None:
    assert is_job_file(name) is is_one


def test_a_job_file_that_is_not_there_is_reported_with_its_folder(desk: Desk) -> None:
    with pytest.raises(JobFileError) as caught:
        read_job(str(desk.jobs / "other.toml"))
    assert f"There is no job file {desk.jobs / 'other.toml'}." in str(caught.value)


_toml_values = st.one_of(
    st.text(max_size=20).map(lambda text: json.dumps(text, ensure_ascii=True).replace("\\u007f", "x")),
    st.integers(-5, 10**12).map(str),
    st.booleans().map(lambda flag: str(flag).lower()),
    st.sampled_from(["[]", "{}", "[1]", '["a"]', '{ a = "b" }', "1979-05-27", "22:00:00", "nan", "inf", "1.5"]),
)
_keys = st.sampled_from([line.key for line in SETTINGS if not line.secret] + ["name", "source", "notify"])


@given(st.dictionaries(_keys, _toml_values, max_size=4))
def test_whatever_a_file_says_it_is_taken_or_refused_in_words(tmp_path_factory: Any, said: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("any") / "any.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in said.items()), encoding="utf-8")
    try:
        reported = read_job(str(path)).shown
    except UsageError as error:
        reported = error.message
    assert "any.toml" in reported


# --- for editors and readers


def test_the_schema_that_is_checked_in_is_the_one_that_is_made() -> None:
    text = (ROOT / "docs" / "job.schema.json").read_text(encoding="utf-8")
    assert json.loads(text) == job_schema(), "write docs/job.schema.json again: bulkid job-schema"


def test_the_docs_hold_the_table_of_keys_as_it_is() -> None:
    text = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
    assert job_table() in text, "write the table of docs/jobs.md again, from job_table()"
