"""Credentials are never sent to an address that another file gives."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.config.parse import Secret
from bulkid.config.resolve import load_settings
from bulkid.config.settings import SETTINGS, Settings, setting
from bulkid.errors import UsageError
from tests.support.examples import examples

PLACES = ("option", "environment", "job", "working", "user")  # the first that gives a setting counts
FILES = {"job", "working", "user"}


class World:
    """Five places in which settings are given, each with values of its own that say where they come from."""

    def __init__(self, root: Path) -> None:
        self.paths = {"working": root / "work" / "bulkid.toml", "user": root / "user" / "bulkid.toml"}
        for path in self.paths.values():
            path.parent.mkdir()
        self.shown = {"job": "job file night.toml"} | {place: str(path) for place, path in self.paths.items()}

    def load(self, said: dict[str, Collection[str]], **more: Any) -> Settings:
        """Load settings that are given in these places each."""
        where = {place: {name for name, places in said.items() if place in places} for place in PLACES}
        for place, path in self.paths.items():
            (path.parent / "secret").write_text(place)
            (path.parent / "ca.pem").touch()
            lines = [f"{key} = '{value}'" for key, value in self._file(where[place], place).items()]
            path.write_text("\n".join(["[default]", *lines]))
        option: dict[str, Any] = self._plain(where["option"], "option")
        option |= {name: Secret("option") for name in where["option"] & {"client_secret", "access_token"}}
        environ = {setting(name).env: value for name, value in self._plain(where["environment"], "environment").items()}
        environ |= {f"BULKID_{name.upper()}": "environment" for name in where["environment"] if "_" in name}
        job = self._plain(where["job"], "job")
        secrets = {name: Secret("job") for name in where["job"] & {"client_secret", "access_token"}}
        arguments: dict[str, Any] = {
            "environ": environ,
            "job": job,
            "job_secrets": secrets,
            "job_name": self.shown["job"],
            "cwd": self.paths["working"].parent,
            "config_dir": self.paths["user"].parent,
        }
        return load_settings(option, **(arguments | more))

    @staticmethod
    def _plain(names: Collection[str], place: str) -> dict[str, str]:
        values = {"url": f"https://{place}.example.com/identity", "client_id": place}
        return {name: values[name] for name in names if name in values}

    def _file(self, names: Collection[str], place: str) -> dict[str, str]:
        files = {f"{name}_file": "secret" for name in names if name in ("client_secret", "access_token")}
        return self._plain(names, place) | files | ({"ca_bundle": "ca.pem"} if "ca_bundle" in names else {})

    def refusal(self, said: dict[str, Collection[str]], **more: Any) -> str:
        """Load, which must be refused; gives the message."""
        with pytest.raises(UsageError) as caught:
            self.load(said, **more)
        assert caught.value.exit_code == 2
        return str(caught.value)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


USER = {"client_id": ["user"], "client_secret": ["user"]}


def test_the_address_of_a_working_directory_does_not_get_the_user_s_credentials(world: World) -> None:
    message = world.refusal({"url": ["working", "user"], **USER})
    assert all(str(path) in message for path in world.paths.values())
    assert "--url or BULKID_URL" in message
    world.refusal({"url": ["working"], "access_token": ["user"]})


def test_the_address_of_a_job_file_does_not_get_a_profile_s_credentials(world: World) -> None:
    message = world.refusal({"url": ["job"], **USER})
    assert "job file night.toml" in message
    assert str(world.paths["user"]) in message


@pytest.mark.parametrize("place", ["option", "environment"])
def test_the_user_s_own_word_sends_credentials_anywhere(world: World, place: str) -> None:
    loaded = world.load({"url": [place, "working"], **USER})
    assert loaded.url == f"https://{place}.example.com/identity"


@pytest.mark.parametrize("file", ["job", "user", "working"])
def test_credentials_of_the_environment_go_to_the_address_of_a_file(world: World, file: str) -> None:
    """The job at night has the secret in its environment and the address in its file."""
    loaded = world.load({"url": [file], "client_id": ["environment"], "client_secret": ["environment"]})
    assert loaded.url == f"https://{file}.example.com/identity"


def test_a_working_directory_does_not_turn_the_environment_s_credentials_away_from_the_user_s_server(
    world: World,
) -> None:
    message = world.refusal({"url": ["working", "user"], "client_secret": ["environment"]})
    assert str(world.paths["working"]) in message
    assert "environment variable BULKID_CLIENT_SECRET" in message


def test_a_token_is_sent_alone_and_counts_alone(world: World) -> None:
    loaded = world.load({"url": ["working"], "access_token": ["environment"], **USER})
    assert loaded.access_token == Secret("environment")


def test_nothing_is_refused_where_nothing_is_sent(world: World) -> None:
    said = {"url": ["working"], **USER}
    assert world.load(said, environ={"BULKID_SANDBOX": "1"}).sandbox
    assert world.load(said, offline=True).client_secret is None


def test_a_working_directory_s_certificate_authorities_count_for_its_own_address_alone(world: World) -> None:
    """With an authority of theirs, other people on the way could read the credentials."""
    message = world.refusal({"url": ["user"], "ca_bundle": ["working"], **USER})
    assert "certificate authorities" in message
    assert str(world.paths["working"]) in message
    world.refusal({"url": ["environment"], "ca_bundle": ["working"], "client_secret": ["environment"]})
    world.load({"url": ["user"], "ca_bundle": ["user"], **USER})
    world.load({"url": ["job"], "ca_bundle": ["user"], "client_secret": ["environment"]})
    own = {name: ["working"] for name in ("url", "client_id", "client_secret", "ca_bundle")}
    assert world.load(own).ca_bundle == world.paths["working"].parent / "ca.pem"


@pytest.mark.parametrize("link", [False, True])
def test_a_working_directory_does_not_name_the_files_of_the_user_s_secrets(world: World, link: bool) -> None:
    if link:
        (world.paths["working"].parent / "key").symlink_to(world.paths["user"].parent / "secret")
    named = "key" if link else str(world.paths["user"].parent / "secret")
    world.load({})
    world.paths["working"].write_text(
        f"[default]\nurl = 'https://evil.example.com/identity'\nclient_secret_file = '{named}'\n"
    )
    with pytest.raises(UsageError, match="whose secrets are for the settings there"):
        load_settings({}, environ={}, cwd=world.paths["working"].parent, config_dir=world.paths["user"].parent)


@pytest.mark.parametrize("name", ["client_secret_file", "access_token_file", "client_assertion_file"])
@pytest.mark.parametrize("place", ["job", "working"])
def test_a_secret_s_file_that_the_user_gives_to_one_server_goes_to_no_other(
    world: World, place: str, name: str, tmp_path: Path
) -> None:
    """Also where the user's file names it in a profile that is not in use, and under another path."""
    world.load({})
    secret = tmp_path / "elsewhere"
    secret.write_text("secret-of-prod")
    (tmp_path / "link").symlink_to(secret)
    user, working = world.paths["user"], world.paths["working"]
    entries = {"url": "https://other.example.com/identity", name: str(tmp_path / "link")}
    job = entries if place == "job" else None
    working.write_text("" if job else "[default]\n" + "".join(f"{key} = '{text}'\n" for key, text in entries.items()))

    def load() -> Settings:
        return load_settings({}, environ={}, job=job, cwd=working.parent, config_dir=user.parent)

    for url in ("url = 'https://prod.example.com/identity'", ""):
        user.write_text(f"[profiles.prod]\n{url}\n{name} = '{secret}'\n")
        with pytest.raises(UsageError, match="to another server") as caught:
            load()
        assert "secret-of-prod" not in str(caught.value)
    for table in ("profiles.prod", "default"):
        user.write_text(f"[{table}]\nurl = '{entries['url']}'\n[profiles.other]\n{name} = '{secret}'\n")
        if table == "default":
            assert load().url == entries["url"]


def test_a_working_directory_does_not_name_the_server_by_the_runs_of_its_state(world: World) -> None:
    """A run that is resumed without an address is resumed at its own."""
    world.load({**USER})
    working, user = world.paths["working"], world.paths["user"]
    for state in ("state_dir = 'theirs'", "database_url_file = 'theirs.url'"):
        (working.parent / "theirs.url").write_text("postgresql://them@db.example.com/bulkid")
        working.write_text(f"[default]\n{state}\n")
        with pytest.raises(UsageError, match="the runs that name a server from another") as caught:
            load_settings({}, environ={}, cwd=working.parent, config_dir=user.parent)
        assert str(working) in str(caught.value)
        url = {"BULKID_URL": "https://mine.example.com/identity"}
        assert load_settings({}, environ=url, cwd=working.parent, config_dir=user.parent).client_id == "user"


@pytest.mark.parametrize("place", ["job", "working"])
def test_the_address_of_another_file_does_not_get_the_user_s_assertion(world: World, place: str) -> None:
    world.load({"url": ["working"] if place == "working" else []})
    world.paths["user"].write_text("[default]\nclient_assertion_file = 'secret'\n")
    job = {"url": "https://job.example.com/identity"} if place == "job" else None
    with pytest.raises(UsageError, match="nothing was sent") as caught:
        load_settings({}, environ={}, job=job, cwd=world.paths["working"].parent, config_dir=world.paths["user"].parent)
    assert str(world.paths["user"]) in str(caught.value)


def test_a_working_directory_does_not_name_the_file_of_the_user_s_assertion(world: World) -> None:
    world.load({})
    named = world.paths["user"].parent / "secret"
    world.paths["working"].write_text(
        f"[default]\nurl = 'https://evil.example.com/identity'\nclient_assertion_file = '{named}'\n"
    )
    with pytest.raises(UsageError, match="whose secrets are for the settings there"):
        load_settings({}, environ={}, cwd=world.paths["working"].parent, config_dir=world.paths["user"].parent)


def test_where_the_working_directory_is_the_user_s_own_all_is_one_file(world: World) -> None:
    world.load({"url": ["user"], "ca_bundle": ["user"], **USER})
    own = world.paths["user"].parent
    assert load_settings({}, environ={}, cwd=own, config_dir=own).client_secret == Secret("user")


def test_in_the_user_s_own_directory_the_environment_goes_with_its_file(world: World) -> None:
    world.load({"url": ["user"], **USER})
    own = world.paths["user"].parent
    files = {name: own / name for name in ("authorities.pem", "other-secret")}
    for path in files.values():
        path.write_text("from the environment")
    environ = {"BULKID_CA_BUNDLE": str(files["authorities.pem"])}
    assert load_settings({}, environ=environ, cwd=own, config_dir=own).ca_bundle == files["authorities.pem"]
    environ = {"BULKID_CLIENT_SECRET_FILE": str(files["other-secret"])}
    assert load_settings({}, environ=environ, cwd=own, config_dir=own).client_secret == Secret("from the environment")


def test_one_address_in_both_files_is_no_other_address(world: World) -> None:
    world.load({**USER})
    for path in world.paths.values():
        path.write_text(f"{path.read_text()}\nurl = 'https://same.example.com/identity'\n")
    loaded = load_settings({}, environ={}, cwd=world.paths["working"].parent, config_dir=world.paths["user"].parent)
    assert loaded.client_id == "user"


def test_every_setting_that_signs_in_is_known_as_a_credential() -> None:
    named = ("client_", "access_token")
    assert all(line.credential == line.name.startswith(named) for line in SETTINGS)


somewhere = st.sets(st.sampled_from(PLACES), max_size=3)


@settings(max_examples=examples(150, soak=2000), deadline=None)
@given(said=st.fixed_dictionaries(dict.fromkeys(("url", "client_id", "client_secret", "access_token"), somewhere)))
def test_whatever_is_given_where_no_file_s_credentials_meet_another_file_s_address(
    tmp_path_factory: pytest.TempPathFactory, said: dict[str, set[str]]
) -> None:
    """Values say where they come from: what is loaded is looked at, and what is refused must have had a reason."""
    world = World(tmp_path_factory.mktemp("origins"))
    first = {name: next((place for place in PLACES if place in places), "") for name, places in said.items()}
    sent = ["access_token"] if first["access_token"] else [name for name in first if name != "url" and first[name]]
    url = first["url"]
    mixed = [name for name in sent if url in FILES and first[name] in FILES - {url}]
    # of one file, each place gives another address here, so a file that is not asked cannot agree
    turned = bool(sent) and url == "working" and "user" in said["url"]
    if mixed or turned:
        message = world.refusal({name: list(places) for name, places in said.items()})
        assert world.shown[url] in message
        assert not mixed or any(world.shown[first[name]] in message for name in mixed)
        return
    loaded = world.load({name: list(places) for name, places in said.items()})
    assert (loaded.url or "") == (f"https://{url}.example.com/identity" if url else "")
    for name in sent:
        value = getattr(loaded, name)
        assert (value.reveal() if isinstance(value, Secret) else value) == first[name]
