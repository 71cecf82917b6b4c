"""Which layer a setting is taken from, what each layer may hold, and errors that name the layer."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkid.config import resolve as layers_module
from bulkid.config.parse import Secret
from bulkid.config.resolve import load_settings, parse_age, unknown_variables
from bulkid.config.settings import SETTINGS, Setting, Settings, setting
from bulkid.errors import UsageError
from bulkid.model import FailureBound
from tests.support.docs_tables import settings_table
from tests.support.examples import examples

ROOT = Path(__file__).resolve().parents[2]

# one value per setting that is no default, as text
SAMPLES: dict[str, str] = {
    "window": "22:00-05:30 Europe/Berlin",
    "time_zone": "America/New_York",
    "until": "05:30",
    "max_duration": "1h 30m",
    "url": "https://cloud.uipath.com/acme",
    "organization_id": "org-1",
    "client_id": "app-1",
    "client_secret": "hush",
    "access_token": "1234",
    "notify_success": "json://hooks.example.com/good",
    "notify_failure": "json://hooks.example.com/bad",
    "notify_always": "json://hooks.example.com/all",
    "metrics_file": "bulkid.prom",
    "scope": "PM.RobotAccount",
    "tenant": "Default",
    "sandbox": "yes",
    "profile": "acme",
    "sheet": "Data",
    "column_map": "Robot=name",
    "ignore_columns": "Note",
    "encoding": "cp1252",
    "delimiter": "tab",
    "skip_invalid": "on",
    "via": "groups",
    "no_read": "1",
    "quota": "PUT=20/5",
    "rate": "2.5",
    "concurrency": "3",
    "max_attempts": "2",
    "timeout": "7",
    "max_failures": "5%",
    "first": "10",
    "max_change": "10%",
    "yes_really": "true",
    "report_dir": "out",
    "formats": "xlsx",
    "note": "CHG-4711",
    "json": "true",
    "yes": "true",
    "quiet": "true",
    "verbose": "true",
    "log_format": "json",
    "state_dir": "state",
    "database_url": "postgresql+psycopg://bulkid:hush@localhost/bulkid",
    "wait": "30",
}


class Place:
    """A working directory and a user's configuration directory, and settings loaded between them."""

    def __init__(self, root: Path) -> None:
        self.cwd = root / "work"
        self.config = root / "user"
        self.cwd.mkdir()
        self.config.mkdir()

    def load(self, options: dict[str, Any] | None = None, **more: Any) -> Settings:
        arguments = {"environ": {}, "cwd": self.cwd, "config_dir": self.config, **more}
        return load_settings(options or {}, **arguments)

    def write(self, text: str, *, user: bool = False) -> Path:
        path = (self.config if user else self.cwd) / "bulkid.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def refusal(self, options: dict[str, Any] | None = None, **more: Any) -> str:
        with pytest.raises(UsageError) as caught:
            self.load(options, **more)
        assert caught.value.exit_code == 2
        return str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- the table


def test_every_field_of_settings_is_a_line_of_the_table() -> None:
    assert [line.name for line in SETTINGS] == [each.name for each in fields(Settings) if each.name != "sources"]


@pytest.mark.parametrize("line", SETTINGS.entries, ids=lambda line: line.name)
def test_every_line_says_all_that_a_reader_needs(line: Setting) -> None:
    assert line.help
    assert not line.help.endswith(".")
    assert line.allowed
    assert line.commands or not line.option
    assert line.env == f"BULKID_{line.key.upper()}"
    assert line.option == "" or line.option.startswith("-")
    assert setting(line.key) is setting(line.name) is setting(line.name.replace("_", "-")) is line


def test_no_two_settings_share_a_name() -> None:
    for names in ([line.env for line in SETTINGS], [line.option for line in SETTINGS if line.option]):
        assert len(set(names)) == len(names)


def test_the_options_and_variables_of_the_contract_are_all_there() -> None:
    options = (
        "--sandbox --url --organization-id --profile --sheet --map --ignore-column --encoding --delimiter "
        "--skip-invalid --via --group-batch --no-read --quota --rate --concurrency --max-attempts --timeout "
        "--create-missing --create-groups --new-group --allow-delete --max-delete "
        "--max-failures --first --max-change --yes-really --report-dir --format --note --json --yes --quiet -v "
        "--log-format --state-dir --until --max-duration --wait --metrics-file "
        "--host --port --certfile --keyfile --behind-proxy --public-name --require-approval --keep-audit"
    )
    assert {line.option for line in SETTINGS if line.option} == set(options.split())
    variables = (
        "URL CLIENT_ID CLIENT_SECRET CLIENT_SECRET_FILE CLIENT_ASSERTION_FILE ACCESS_TOKEN ACCESS_TOKEN_FILE "
        "SCOPE ORGANIZATION_ID STATE_DIR "
        "TENANT CA_BUNDLE RATE QUOTA MAX_FAILURES SKIP_INVALID MAP IGNORE_COLUMN FORMAT NO_READ VERBOSE"
    )
    assert {f"BULKID_{name}" for name in variables.split()} <= {line.env for line in SETTINGS}


def test_no_secret_is_an_option() -> None:
    secrets = {line.name for line in SETTINGS if line.secret}
    notify = {"notify_success", "notify_failure", "notify_always"}
    assert secrets == {"client_secret", "access_token", "database_url"} | notify
    assert all(not setting(name).option for name in secrets)


def test_the_docs_hold_the_table_as_it_is() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_table(SETTINGS) in text, "write the table of docs/settings.md again, from settings_table(SETTINGS)"


# --- the order of the layers


def test_without_anything_given_every_setting_is_its_default(place: Place) -> None:
    loaded = place.load()
    plain = Settings()
    for line in SETTINGS:
        if line.name != "report_dir":
            assert getattr(loaded, line.name) == getattr(plain, line.name)
        assert loaded.sources.get(line.name) is None
        assert not loaded.is_given(line.name)
    assert loaded.report_dir == place.cwd / "reports"
    assert (loaded.concurrency, loaded.max_attempts, loaded.timeout, loaded.via) == (16, 5, 30.0, "auto")
    assert loaded.quota is None
    assert loaded.state_dir.name == "bulkid"


def test_option_beats_environment_beats_job_beats_profile_beats_default_table(place: Place) -> None:
    place.write("[default]\nrate = 6\n[profiles.acme]\nrate = 4\n")
    place.write("[default]\nrate = 7\n[profiles.acme]\nrate = 5\n", user=True)
    said: dict[str, Any] = {
        "options": {"rate": "1", "profile": "acme"},
        "environ": {"BULKID_RATE": "2"},
        "job": {"rate": 3},
    }
    assert place.load(**said).rate == 1
    assert place.load(**said).sources["rate"] == "option --rate"
    said["options"] = {"profile": "acme"}
    assert place.load(**said).rate == 2
    assert place.load(**said).sources["rate"] == "environment variable BULKID_RATE"
    said["environ"] = {}
    assert place.load(**said).rate == 3
    assert place.load(**said, job_name="job.toml").sources["rate"] == "job.toml, key rate"
    said["job"] = None
    assert place.load(**said).rate == 4
    assert place.load(**said).sources["rate"] == f"profile acme in {place.cwd / 'bulkid.toml'}, key rate"
    place.write("[default]\nrate = 6\n")
    assert place.load(**said).rate == 5
    place.write("[profiles.acme]\n", user=True)
    assert place.load(**said).rate == 6
    assert place.load(**said).sources["rate"] == f"table [default] in {place.cwd / 'bulkid.toml'}, key rate"
    place.write("[default]\nrate = 7\n[profiles.acme]\n", user=True)
    (place.cwd / "bulkid.toml").unlink()
    assert place.load(**said).rate == 7


def test_a_profile_is_put_together_from_both_files(place: Place) -> None:
    place.write('[profiles.acme]\ntenant = "a"\n')
    place.write('[profiles.acme]\nclient_id = "me"\ntenant = "b"\nurl = "https://h/b"\n', user=True)
    loaded = place.load({"profile": "acme"})
    assert (loaded.url, loaded.client_id, loaded.tenant) == ("https://h/b", "me", "a")


@pytest.mark.parametrize("how", ["option", "environment", "job"])
def test_a_profile_may_be_named_by_option_environment_or_job(place: Place, how: str) -> None:
    place.write("[profiles.acme]\nrate = 4\n[profiles.other]\nrate = 9\n")
    said: dict[str, dict[str, Any]] = {
        "option": {"options": {"profile": "acme"}},
        "environment": {"environ": {"BULKID_PROFILE": "acme"}},
        "job": {"job": {"profile": "acme"}},
    }
    loaded = place.load(**said[how])
    assert (loaded.rate, loaded.profile) == (4, "acme")


def test_a_switch_that_is_off_on_purpose_beats_one_that_is_on_below(place: Place) -> None:
    assert place.load({"yes": False}, environ={"BULKID_YES": "1"}).yes is False


def test_what_is_not_given_is_no_layer(place: Place) -> None:
    place.write('[default]\nformat = ["xlsx"]\nrate = 5\n')
    loaded = place.load({"rate": None, "formats": [], "quota": ()}, environ={"BULKID_RATE": ""})
    assert (loaded.rate, loaded.formats, loaded.quota) == (5.0, ("xlsx",), None)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_setting_can_be_given_by_its_variable_alike_as_by_its_option(place: Place, name: str) -> None:
    place.write("[profiles.acme]\n")
    line = setting(name)
    by_variable = place.load(environ={line.env: SAMPLES[name]})
    option: Any = Secret(SAMPLES[name]) if line.secret else [SAMPLES[name]] if line.repeatable else SAMPLES[name]
    by_option = place.load({name: option})
    assert getattr(by_variable, name) == getattr(by_option, name) != getattr(place.load(), name)
    assert by_variable.sources[name] == f"environment variable {line.env}"
    assert by_option.is_given(name)


@pytest.mark.parametrize("name", [n for n in SAMPLES if not setting(n).secret and setting(n).in_profile])
def test_every_setting_but_a_secret_can_stand_in_a_profile(place: Place, name: str) -> None:
    place.write(f"[profiles.acme]\n{setting(name).key.replace('_', '-')} = '{SAMPLES[name]}'\n")
    loaded = place.load({"profile": "acme"})
    assert getattr(loaded, name) == getattr(place.load({name: SAMPLES[name]}), name)
    assert loaded.sources[name].startswith("profile acme in ")


def test_toml_values_need_no_quotes(place: Place) -> None:
    place.write(
        "[default]\nrate = 5\nyes = true\nmax-failures = 3\nfirst = 2\nsheet = 2024\n"
        'quota = ["PUT=20/5", "GET=1/1"]\nmap = {"Robot name" = "name"}\nignore_column = ["a", "b;c"]\n'
    )
    loaded = place.load()
    assert (loaded.rate, loaded.yes, loaded.max_failures, loaded.first, loaded.sheet) == (
        5,
        True,
        FailureBound(count=3),
        2,
        "2024",
    )
    assert [rule.method for rule in loaded.quota or ()] == ["PUT", "GET"]
    assert loaded.column_map == {"Robot name": "name"}
    assert loaded.ignore_columns == ("a", "b;c")


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("concurrency", "1", "256"),
        ("max_attempts", "1", "1000"),
        ("timeout", "0.001", "3600"),
        ("rate", "0.001", "100000"),
        ("first", "1", "1000000000"),
    ],
)
def test_the_bounds_of_a_setting_are_those_that_its_help_names(place: Place, name: str, least: str, most: str) -> None:
    assert getattr(place.load({name: least}), name) == float(least)
    assert getattr(place.load({name: most}), name) == float(most)
    for beyond in (f"-{least}", f"{most}1", "0"):
        assert "is out of range" in place.refusal({name: beyond})
    assert least in setting(name).allowed


def test_quota_none_lifts_the_preset_and_silence_keeps_it(place: Place) -> None:
    assert place.load({"quota": ["none"]}).quota == ()
    assert place.load().quota is None


def test_variables_are_found_in_any_case_where_the_platform_says_so(tmp_path: Path) -> None:
    def rate(*, ignore_case: bool) -> object:
        layer = layers_module._environment_layer({"Bulkid_Rate": "5"}, tmp_path, ignore_case=ignore_case)
        return layer.values.get("rate")

    assert rate(ignore_case=True) == "5"
    assert rate(ignore_case=False) is None


# --- paths


def test_paths_start_where_they_were_written(place: Place) -> None:
    (place.config / "ca.pem").touch()
    place.write('[default]\nca_bundle = "ca.pem"\nstate_dir = "state"\nreport_dir = "out"\n', user=True)
    loaded = place.load()
    assert loaded.ca_bundle == place.config / "ca.pem"
    assert loaded.state_dir == place.config / "state"
    assert loaded.report_dir == place.cwd / "out"
    loaded = place.load({"state_dir": "here"}, environ={"BULKID_REPORT_DIR": "there"})
    assert (loaded.state_dir, loaded.report_dir) == (place.cwd / "here", place.cwd / "there")
    absolute = place.cwd.parent / "elsewhere"
    assert place.load({"report_dir": absolute}).report_dir == absolute


def test_a_missing_ca_bundle_is_reported_before_anything_is_sent(place: Place) -> None:
    message = place.refusal(environ={"BULKID_CA_BUNDLE": "no.pem"})
    assert message.startswith("environment variable BULKID_CA_BUNDLE: ")
    assert "no.pem" in message
    assert "does not exist" in message


def test_a_ca_bundle_whose_name_no_file_system_takes_is_missing_too(place: Place) -> None:
    assert "does not exist" in place.refusal(environ={"BULKID_CA_BUNDLE": "x" * 5000})


# --- secrets


@pytest.mark.parametrize(
    "content",
    [b"hush\n", b"hush", b"hush\r\n", b"\xef\xbb\xbfhush\r\n", "hush\r\n".encode("utf-16")],
    ids=["unix", "bare", "windows", "bom", "powershell"],
)
@pytest.mark.parametrize("name", ["client_secret", "access_token", "database_url"])
def test_a_secret_file_holds_the_secret_and_maybe_an_end_of_line(place: Place, name: str, content: bytes) -> None:
    (place.cwd / "secret").write_bytes(content)
    loaded = place.load(environ={f"BULKID_{name.upper()}_FILE": "secret"})
    assert getattr(loaded, name) == Secret("hush")
    assert loaded.sources[name] == f"environment variable BULKID_{name.upper()}_FILE"


def test_a_secret_file_of_a_profile_lies_beside_its_bulkid_toml(place: Place) -> None:
    (place.config / "secret").write_text("hush\n", encoding="utf-8")
    place.write('[profiles.acme]\nclient_secret_file = "secret"\n', user=True)
    assert place.load({"profile": "acme"}).client_secret == Secret("hush")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\r\n", "is empty"),
        (b"xxx\nxxx\n", "control characters"),
        (b"\xff\xfe\x00", "is not text"),
        (b"caf\xe9", "is not text"),
        (b"x" * 70_000, "is too large"),
    ],
)
def test_a_secret_file_that_cannot_be_one_is_refused_without_its_content(
    place: Place, content: bytes, problem: str
) -> None:
    (place.cwd / "secret").write_bytes(content)
    message = place.refusal(environ={"BULKID_CLIENT_SECRET_FILE": "secret"})
    assert message.startswith(f"environment variable BULKID_CLIENT_SECRET_FILE: {place.cwd / 'secret'} ")
    assert problem in message
    assert "xxx" not in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_secret_may_come_through_a_pipe_that_a_program_writes_to(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = place.cwd / "secret"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        written = pool.submit(pipe.write_text, "hush\n", encoding="utf-8")
        loaded = place.load(environ={"BULKID_CLIENT_SECRET_FILE": "secret"})
        written.result()
    assert loaded.client_secret is not None
    assert loaded.client_secret.reveal() == "hush"
    monkeypatch.setattr("bulkid.named_pipe.PIPE_WAIT_S", 0)
    message = place.refusal(environ={"BULKID_CLIENT_SECRET_FILE": "secret"})
    assert "cannot be read (no program has written to this pipe within 0 seconds)" in message


def test_a_folder_in_place_of_a_secret_file_is_named(place: Place) -> None:
    (place.cwd / "secret").mkdir()
    assert "cannot be read" in place.refusal(environ={"BULKID_ACCESS_TOKEN_FILE": "secret"})


@pytest.mark.parametrize("value", ["S3cr3t-value", "S3cr3t/va+lue==", "S3cr3t" * 200, "S3cr3t\x01"])
def test_a_secret_put_into_the_variable_for_its_file_is_not_repeated(place: Place, value: str) -> None:
    message = place.refusal(environ={"BULKID_CLIENT_SECRET_FILE": value})
    assert "BULKID_CLIENT_SECRET_FILE" in message
    assert "S3cr3t" not in message


def test_a_secret_and_its_file_in_one_place_are_one_too_many(place: Place) -> None:
    message = place.refusal(environ={"BULKID_ACCESS_TOKEN": "1234", "BULKID_ACCESS_TOKEN_FILE": "f"})
    assert "BULKID_ACCESS_TOKEN and " in message
    assert "BULKID_ACCESS_TOKEN_FILE are both set" in message
    assert "1234" not in message


def test_a_secret_given_nearer_beats_a_file_named_further_off_unread(place: Place) -> None:
    place.write('[default]\nclient_secret_file = "missing"\n')
    loaded = place.load(environ={"BULKID_CLIENT_SECRET": "near"})
    assert loaded.client_secret == Secret("near")
    assert loaded.client_secret_file is None


def test_a_file_named_nearer_beats_a_secret_given_further_off(place: Place) -> None:
    (place.cwd / "secret").write_text("near", encoding="utf-8")
    loaded = place.load({"access_token_file": "secret"}, environ={"BULKID_ACCESS_TOKEN": "far"})
    assert loaded.access_token == Secret("near")


@pytest.mark.parametrize("value", ["eyJhIjoxfQ.eyJhIjoxfQ.c2ln\x01", "hush\nhush"])
def test_an_assertion_put_into_the_variable_for_its_file_is_not_repeated(place: Place, value: str) -> None:
    message = place.refusal(environ={"BULKID_CLIENT_ASSERTION_FILE": value})
    assert "BULKID_CLIENT_ASSERTION_FILE" in message
    assert value[:4] not in message.replace("BULKID", "")


def test_an_assertion_s_file_is_not_read_with_the_settings(place: Place) -> None:
    loaded = place.load(environ={"BULKID_CLIENT_ASSERTION_FILE": "missing"})
    assert loaded.client_assertion_file == place.cwd / "missing"
    place.write('[profiles.acme]\nclient_assertion_file = "jwt"\n', user=True)
    assert place.load({"profile": "acme"}).client_assertion_file == place.config / "jwt"


@pytest.mark.parametrize("near", ["client_secret", "client_secret_file", "client_assertion_file"])
@pytest.mark.parametrize("far", ["client_secret_file", "client_assertion_file"])
def test_an_application_signs_in_with_what_the_nearest_place_gives(place: Place, near: str, far: str) -> None:
    (place.cwd / "near").write_text("near", encoding="utf-8")
    place.write(f'[default]\n{far} = "far"\n')
    loaded = place.load(environ={f"BULKID_{near.upper()}": "near"})
    if near == "client_assertion_file":
        assert (loaded.client_assertion_file, loaded.client_secret) == (place.cwd / "near", None)
        assert not loaded.is_given("client_secret")
    else:
        assert (loaded.client_assertion_file, loaded.client_secret) == (None, Secret("near"))
        assert not loaded.is_given("client_assertion_file")


@pytest.mark.parametrize("secret", ["CLIENT_SECRET", "CLIENT_SECRET_FILE"])
def test_a_secret_and_an_assertion_in_one_place_are_one_too_many(place: Place, secret: str) -> None:
    message = place.refusal(environ={f"BULKID_{secret}": "hush", "BULKID_CLIENT_ASSERTION_FILE": "jwt"})
    assert f"variable BULKID_{secret} and environment variable BULKID_CLIENT_ASSERTION_FILE are both set" in message
    assert "hush" not in message


@pytest.mark.parametrize("key", ["client_secret", "client-secret", "access_token"])
@pytest.mark.parametrize("table", ["default", "profiles.acme"])
def test_a_secret_in_bulkid_toml_is_refused_even_in_a_profile_that_is_not_used(
    place: Place, table: str, key: str
) -> None:
    path = place.write(f'[{table}]\n{key} = "hush"\n')
    message = place.refusal()
    assert str(path) in message
    assert f"BULKID_{key.replace('-', '_').upper()}" in message
    assert f"{key.replace('-', '_')}_file" in message
    assert "hush" not in message


def test_a_secret_is_taken_from_no_job_file_and_no_option(place: Place) -> None:
    for said in ({"job": {"access_token": "hush"}}, {"options": {"access_token": "hush"}}):
        message = place.refusal(**said)
        assert "BULKID_ACCESS_TOKEN" in message
        assert "hush" not in message
    assert "secret" in place.refusal(job={"access_token": Secret("hush")})


def test_settings_never_show_a_secret(place: Place) -> None:
    loaded = place.load(environ={"BULKID_CLIENT_SECRET": "hush-1", "BULKID_ACCESS_TOKEN": "hush-2"})
    assert "hush" not in f"{loaded!r} {loaded} {loaded.sources}"
    assert (loaded.client_secret, loaded.access_token) == (Secret("hush-1"), Secret("hush-2"))


# --- offline


def test_offline_commands_do_not_stumble_over_the_connection(place: Place) -> None:
    place.write("[profiles.acme]\nrate = 4\n")
    broken = {
        "BULKID_URL": "nonsense",
        "BULKID_CLIENT_SECRET_FILE": "missing",
        "BULKID_CA_BUNDLE": "missing",
        "BULKID_PROFILE": "acme",
        "BULKID_SHEET": "Data",
    }
    loaded = place.load(environ=broken, offline=True)
    assert (loaded.url, loaded.client_secret, loaded.rate, loaded.sheet) == (None, None, 4.0, "Data")
    assert loaded.profile == "acme"
    place.refusal(environ=broken)


# --- faults name their place


@pytest.mark.parametrize(
    ("said", "beginning"),
    [
        ({"options": {"rate": "fast"}}, "option --rate: 'fast' is not a number"),
        ({"options": {"verbose": "x"}}, "option -v: 'x' is neither"),
        ({"options": {"client_id": " "}}, "option client_id: ' ' is empty"),
        ({"environ": {"BULKID_RATE": "fast"}}, "environment variable BULKID_RATE: 'fast' is not a number"),
        ({"environ": {"BULKID_QUOTA": "PUT=160/5m"}}, "environment variable BULKID_QUOTA: 'PUT=160/5m' is not of the"),
        ({"job": {"rate": "fast"}}, "job file, key rate: 'fast' is not a number"),
        ({"job": {"rates": 5}}, "job file: unknown key 'rates'. Did you mean rate"),
        ({"job": {"format": "csv", "formats": "csv"}}, "job file: format is given twice"),
        (
            {"environ": {"BULKID_ACCESS_TOKEN": "a b"}},
            "environment variable BULKID_ACCESS_TOKEN: the value is no access",
        ),
    ],
)
def test_a_invalid_value_is_reported_with_who_gave_it_and_what_is_allowed(
    place: Place, said: dict[str, Any], beginning: str
) -> None:
    message = place.refusal(**said)
    assert message.startswith(beginning)


def test_the_hint_says_what_is_allowed(place: Place) -> None:
    with pytest.raises(UsageError) as caught:
        place.load({"concurrency": "257"})
    assert caught.value.message == "option --concurrency: '257' is out of range."
    assert caught.value.hint == "Give a whole number from 1 to 256."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profiles.acme]\nrate = 'fast'\n", ["profile acme in {path}, key rate: 'fast' is not a number"]),
        ("[profiles.acme]\nmax-failures = 'x'\n", ["key max-failures: 'x'"]),
        ("[profiles.acme]\nrat = 5\n", ["profile acme in {path}: unknown key 'rat'", "Did you mean rate"]),
        ("[default]\nzzzzzz = 5\n", ["table [default] in {path}: unknown key 'zzzzzz'", "Keys: access_token_file, "]),
        ("[default]\nprofile = 'acme'\n", ["key profile names a profile from within one"]),
        ("[default]\nmap = 'a=name'\ncolumn_map = 'a=name'\n", ["map is given twice"]),
        ("[profiles.other]\nrat = 5\n[profiles.acme]\n", ["profile other in {path}: unknown key 'rat'"]),
        ("rate = 5\n", ["{path} has 'rate' at its top", "[default]"]),
        ("default = 5\n", ["[default] in {path} is not a table"]),
        ("profiles = 5\n", ["{path}: profiles is not a table"]),
        ("[profiles]\nacme = 5\n", ["profile acme in {path} is not a table"]),
        ("[profiles.acme\n", ["{path} is not a TOML file", "line 1"]),
        ("[default]\nrate = {a = 'hush'}\n[profiles.acme]\n", ["key rate: a table is not a number"]),
        (f"[default]\nx = {'[' * 5000}", ["{path} is not a TOML file"]),
        (f"[default]\nrate = {'9' * 5000}", ["{path} is not a TOML file"]),
    ],
)
def test_a_fault_of_bulkid_toml_names_the_file_and_the_key(place: Place, text: str, words: list[str]) -> None:
    path = place.write(text)
    message = place.refusal({"profile": "acme"})
    for word in words:
        assert word.format(path=path) in message


def test_a_bulkid_toml_that_is_not_utf8_or_no_file_is_named(place: Place) -> None:
    path = place.write("")
    path.write_bytes(b"# caf\xe9")
    assert f"{path} is not UTF-8" in place.refusal()
    path.write_bytes("[default]\nrate = 5\n".encode("utf-8-sig"))
    assert place.load().rate == 5
    path.unlink()
    path.mkdir()
    assert f"{path} is a folder, not a TOML file" in place.refusal()


def test_a_file_that_may_not_be_looked_up_names_what_to_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the home directory of root, which stays the working directory under sudo."""
    kept = {place.cwd}

    def denied(path: Path) -> str:
        if path.parent in kept:
            raise PermissionError(13, "Permission denied")
        return ""

    monkeypatch.setattr(layers_module, "special_kind", denied)
    assert f"{place.cwd / 'bulkid.toml'} cannot be read (Permission denied)" in place.refusal()
    assert f"search {place.cwd}, or start bulkid in another folder." in place.refusal()
    kept = {place.config}
    assert f"search {place.config}." in place.refusal()


def test_an_unknown_profile_is_reported_with_the_files_and_the_near_names(place: Place) -> None:
    place.write("[profiles.acme-prod]\n[profiles.test]\n")
    message = place.refusal(environ={"BULKID_PROFILE": "acme-prd"})
    assert message.startswith("environment variable BULKID_PROFILE: there is no profile 'acme-prd'")
    assert str(place.cwd / "bulkid.toml") in message
    assert str(place.config / "bulkid.toml") in message
    assert "Did you mean acme-prod?" in message
    assert "Profiles: acme-prod, test." in place.refusal({"profile": "zzz"})
    (place.cwd / "bulkid.toml").unlink()
    assert "[profiles.zzz]" in place.refusal({"profile": "zzz"})


def test_the_variables_that_no_setting_reads_are_named_with_what_was_meant() -> None:
    unknown = unknown_variables({"BULKID_ORGANISATION_ID": "x", "BULKID_URL": "y", "bulkid_rate": "1", "PATH": "z"})
    assert unknown == {"BULKID_ORGANISATION_ID": ("BULKID_ORGANIZATION_ID",)}


# --- whatever is given


def loads_or_refuses(place: Place, secrets: tuple[str, ...] = (), **said: Any) -> None:
    """Settings, or one UsageError; in neither a secret."""
    try:
        shown = repr(place.load(**said))
    except UsageError as error:
        shown = f"{error} {error!r}"
    assert not any(secret in shown for secret in secrets)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("shared"))


TEXTS = st.text(st.characters(), max_size=40) | st.sampled_from(
    [
        "PUT=1/1",
        "5%",
        "~",
        "~x",
        "https://[",
        "https://:@",
        "none",
        "=",
        ";",
        "\udcff",
        "\0",
        "1e999",
        "utf-8\0",
        "idna",
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([line.name for line in SETTINGS])
quick = settings(
    max_examples=examples(150, soak=2000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(environ=st.dictionaries(NAMES.map(lambda name: setting(name).env), TEXTS, min_size=1, max_size=4))
def test_any_text_in_any_variable_gives_settings_or_one_clear_refusal(shared: Place, environ: dict[str, str]) -> None:
    loads_or_refuses(shared, environ=environ)


@quick
@given(given_values=st.dictionaries(NAMES, ANYTHING, min_size=1, max_size=3))
def test_anything_as_an_option_or_in_a_job_file_gives_settings_or_one_clear_refusal(
    shared: Place, given_values: dict[str, Any]
) -> None:
    loads_or_refuses(shared, options=given_values)
    loads_or_refuses(shared, job=given_values)


SECRET = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12, max_size=20).map("s3cr3t{}".format)


@quick
@given(secret=SECRET, before=TEXTS, after=TEXTS, name=st.sampled_from(["client_secret", "access_token"]))
def test_whatever_is_wrong_with_a_secret_it_is_not_repeated(
    shared: Place, secret: str, before: str, after: str, name: str
) -> None:
    value = f"{before}{secret}{after}"
    for said in (
        {"environ": {f"BULKID_{name.upper()}": value}},
        {"environ": {f"BULKID_{name.upper()}_FILE": value}},
        {"environ": {"BULKID_URL": f"https://user:{value}@host"}},
        {"job": {name: value}},
        {"options": {name: value}},
    ):
        loads_or_refuses(shared, (secret,), **said)


@settings(max_examples=examples(100, soak=1000), deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_in_a_secret_file_give_a_secret_or_one_clear_refusal(shared: Place, content: bytes) -> None:
    (shared.cwd / "secret").write_bytes(content)
    for name in ("CLIENT_SECRET", "ACCESS_TOKEN"):
        loads_or_refuses(shared, environ={f"BULKID_{name}_FILE": "secret"})


TOML_WORDS = st.lists(
    st.sampled_from(
        [
            "[default]",
            "[profiles.acme]",
            "\n",
            "rate",
            " = ",
            "5",
            "'x'",
            "[",
            "]",
            "client_secret",
            "{",
            "}",
            "profiles",
        ]
    ),
    max_size=12,
).map(lambda words: "".join(words).encode())


@settings(max_examples=examples(100, soak=1000), deadline=None)
@given(content=st.binary(max_size=60) | TOML_WORDS)
def test_any_bytes_as_bulkid_toml_give_settings_or_one_clear_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    place = Place(tmp_path_factory.mktemp("toml"))
    (place.cwd / "bulkid.toml").write_bytes(content)
    loads_or_refuses(place)
    loads_or_refuses(place, options={"profile": "acme"})


# --- cost


def test_settings_are_loaded_without_any_heavy_import() -> None:
    code = (
        "import sys, pathlib, bulkid.config.resolve as c; c.load_settings({}, environ={}, cwd=pathlib.Path.cwd());"
        "heavy = {'pydantic', 'pandas', 'aiohttp', 'anyio', 'sqlalchemy', 'difflib', 'typer', 'rich', 'asyncio'};"
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --- addresses of those who are told


def test_a_file_of_addresses_may_hold_several_lines(place: Place) -> None:
    (place.cwd / "who").write_bytes(b"# the night shift\r\njson://one.example.com/a\r\njson://two.example.com/b\r\n")
    loaded = place.load(environ={"BULKID_NOTIFY_FAILURE_FILE": "who"})
    assert loaded.notify_failure is not None
    assert "json://two.example.com/b" in loaded.notify_failure.reveal()
    assert "example" not in repr(loaded)


@pytest.mark.parametrize("value", ["somebody@example.com-of-the-night-shift", "json://hooks\x00"])
def test_what_is_no_address_is_refused_unshown(place: Place, value: str) -> None:
    message = place.refusal(environ={"BULKID_NOTIFY_ALWAYS": value})
    assert message.startswith("environment variable BULKID_NOTIFY_ALWAYS: the value holds ")
    assert value not in message


def test_a_command_that_never_connects_needs_no_addresses(place: Place) -> None:
    loaded = place.load(environ={"BULKID_NOTIFY_FAILURE_FILE": "is-not-there"}, offline=True)
    assert loaded.notify_failure is None


# --- ages


@pytest.mark.parametrize(("text", "seconds"), [("12h", 43_200), ("90d", 7_776_000), (" 4W ", 2_419_200)])
def test_an_age_is_hours_days_or_weeks(text: str, seconds: float) -> None:
    assert parse_age(text, "option --prune") == seconds


@pytest.mark.parametrize("text", ["", "90", "0d", "-1d", "1.5d", "90 days", "3m", "d"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"option --prune: .* is not an age"):
        parse_age(text, "option --prune")
