"""Reads and checks job files; the error names every bad key, its value and what is allowed."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulkid.config.credentials import addresses_from
from bulkid.config.parse import Secret, show
from bulkid.config.resolve import load_settings, read_toml
from bulkid.config.settings import SETTINGS, Settings, setting
from bulkid.errors import UsageError
from bulkid.paths import user_path
from bulkid.runs.jobs.drop_folder import DropFolder

_SECRETS = {entry.key for entry in SETTINGS if entry.secret}
_MIN_SIMILARITY = 75.0  # similarity in percent from which on a key may have been meant
_MAX_SUGGESTIONS = 2


class JobFileError(UsageError):
    """A job file that cannot be used: nothing was sent."""


@dataclass(frozen=True, slots=True)
class JobFile:
    """The content of a job file; paths are absolute."""

    path: Path
    shown: str  # the path as the user gave it
    name: str
    description: str
    source: Path | DropFolder
    settings: Mapping[str, Any]  # by name, as the file has them
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)  # secret setting: variable that holds it
    notify: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # recipients: references to their addresses

    def load(
        self,
        options: Mapping[str, Any],
        *,
        environ: Mapping[str, str],
        cwd: Path,
        config_dir: Path | None = None,
        offline: bool = False,
    ) -> Settings:
        """Load all settings, as :func:`bulkid.config.resolve.load_settings` does, this file's included.

        Raises:
            UsageError: A setting cannot be used, or a variable that should hold a secret is not set.
        """
        return load_settings(
            options,
            environ=environ,
            job=self.settings,
            job_secrets={} if offline else self._secrets(environ),
            job_name=f"job file {self.shown}",
            job_dir=self.path.parent,
            cwd=cwd,
            config_dir=config_dir,
            offline=offline,
        )

    def _secrets(self, environ: Mapping[str, str]) -> dict[str, Secret]:
        """Read the secrets that the file names by variables and references, unless the environment overrides them."""
        found = {}
        for name, variable in self.variables.items():
            overridden = environ.get(setting(name).env) or environ.get(setting(f"{name}_file").env)
            if environ.get(variable):
                found[name] = Secret(environ[variable])
            elif not overridden:
                # The variable is not named here: a secret may have been put into the key by mistake.
                raise JobFileError(
                    f"job file {self.shown}, key {name}_env: the variable that it names is not set.",
                    hint="Set it where the job is started: cron, systemd and the Task Scheduler each have a place "
                    "for that.",
                )
        for kind, references in self.notify.items():
            name = f"notify_{kind}"
            if environ.get(setting(name).env) or environ.get(setting(f"{name}_file").env):
                continue
            source = f"job file {self.shown}, key notify.{kind}"
            addresses = addresses_from(references, name=name, environ=environ, base=self.path.parent, source=source)
            if addresses is not None:
                found[name] = addresses
        return found


def read_job(source: str) -> JobFile:
    """Read and check a job file.

    Raises:
        JobFileError: It is not there or cannot be used; the message names every bad key.
        UsageError: It cannot be read, or is no TOML file.
    """
    try:
        path = user_path(source).absolute()
    except RuntimeError:
        message = f"There is no job file {source}."
        raise JobFileError(message, hint="The home directory that it begins with is not known.") from None
    document = read_toml(path)
    if document is None:
        raise JobFileError(f"There is no job file {source}.", hint=f"The folder is {path.parent}.")
    keys, key_errors = _canonical(document)
    model, found = _validated(keys)
    key_errors += found
    if key_errors or model is None:
        message = f"job file {source}: {key_errors[0]}"
        if len(key_errors) > 1:
            message = "\n  ".join([f"job file {source}: {len(key_errors)} things cannot be used:", *key_errors])
        raise JobFileError(message, hint="docs/jobs.md lists the keys of a job file.")
    return _job(path, source, model)


def _canonical(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The file with every setting under its key; a name of Settings and ``-`` are taken too. Secrets are refused."""
    keys: dict[str, Any] = {}
    key_errors: list[str] = []
    for given, value in document.items():
        key = given.replace("-", "_")
        with suppress(KeyError):  # a key that only jobs have, or an unknown one: checked later
            key = setting(key).key
        if key in _SECRETS:
            variable = f"an environment variable and its name into {key}_env"
            if key.startswith("notify_"):
                variable = f"an environment variable and give env:NAME in {key.replace('_', '.', 1)}"
            elif key == "database_url":  # a job names no variable for it
                variable = f"the environment variable {setting(key).env}"
            key_errors.append(
                f"key {given}: is a secret, and a job file holds none. Put it into {variable}, "
                f"or into a file and its path into {key}_file."
            )
        elif key in keys:
            key_errors.append(f"key {given}: {key} is given twice.")
        else:
            keys[key] = value
    return keys, key_errors


def _validated(keys: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    from pydantic import ValidationError

    from bulkid.jobfile.schema import job_model

    key_errors = [
        f"key {secret}_env: {secret}_file is given too. Give one of them."
        for secret in sorted(_SECRETS)
        if f"{secret}_env" in keys and f"{secret}_file" in keys
    ]
    try:
        model = job_model().model_validate(keys)
    except ValidationError as error:
        return None, key_errors + [_key_error(each) for each in error.errors(include_url=False)]
    return model.model_dump(exclude_none=True, by_alias=True), key_errors


def _key_error(error: Any) -> str:  # noqa: ANN401 - pydantic's mapping
    """A validation error as a sentence, which shows a value only where a check of bulkid allows it."""
    where = [str(part) for part in error["loc"] if not str(part).startswith("<")]
    key = ".".join(where)
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}.{_closest(where)}"
        case "missing":
            sheet = "the path of a sheet, or a table [source] with a folder"
            return f"key {key} is missing. Give {'the path of a folder' if where[-1] == 'folder' else sheet}."
        case "bad_value":
            context = error["ctx"]
            return f"key {key}: {context['shown'] or 'the value'} {context['problem']}. Give {context['allowed']}."
    shown = "the value" if key == "notify" else show(error["input"])  # it may be the address of a service
    return f"key {key}: {shown} is not a table. Write it as [{key}]."


def _closest(where: list[str]) -> str:
    """The keys that an unknown one may have been meant for."""
    from rapidfuzz import fuzz, process

    from bulkid.jobfile.schema import Folder, Notify, job_model, keys_of

    known = keys_of({"source": Folder, "notify": Notify}[where[0]] if len(where) > 1 else job_model())
    found = process.extract(
        where[-1].lower(), known, scorer=fuzz.ratio, limit=_MAX_SUGGESTIONS, score_cutoff=_MIN_SIMILARITY
    )
    closest = [name for name, _, _ in found]
    if closest:
        return f" Did you mean {' or '.join(closest)}?"
    return f" It has: {', '.join(known)}." if len(where) > 1 else ""


def _job(path: Path, source: str, model: dict[str, Any]) -> JobFile:
    given = dict(model)
    place = given.pop("source")
    notify = given.pop("notify", {})
    name, description = given.pop("name", path.stem), given.pop("description", "")
    variables = {secret: given.pop(f"{secret}_env") for secret in sorted(_SECRETS) if f"{secret}_env" in given}
    return JobFile(
        path=path,
        shown=source,
        name=str(name).strip(),
        description=str(description).strip(),
        source=_source(path.parent, place),
        settings={setting(key).name: value for key, value in given.items()},
        variables=variables,
        notify={kind: _texts(where) for kind, where in notify.items()},
    )


def _source(base: Path, place: Any) -> Path | DropFolder:  # noqa: ANN401 - as pydantic gives it
    if isinstance(place, Mapping):
        return DropFolder(_path(base, place["folder"]), str(place["glob"]).strip(), float(place["settle"]))
    return _path(base, place)


def _path(base: Path, given: object) -> Path:
    return Path(os.path.normpath(base / user_path(str(given))))


def _texts(given: str | list[str]) -> tuple[str, ...]:
    return (given.strip(),) if isinstance(given, str) else tuple(each.strip() for each in given)
