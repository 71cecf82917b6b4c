"""Make one checked ``Settings`` from five layers: options, environment, job file, bulkid.toml, defaults.

Every error names the layer, so that an admin knows where to fix it. No error holds a secret, nor a value
that may be one by mistake (the path of a secret file is shown only when it exists).
"""

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bulkid.config import parse
from bulkid.config.credentials import CREDENTIALS, ConnectionOrigins, UserFile, read_secret
from bulkid.config.parse import InvalidValueError, Secret
from bulkid.config.settings import CONNECTION, SETTINGS, Setting, Settings, setting
from bulkid.errors import UsageError
from bulkid.file_kind import special_kind
from bulkid.paths import default_config_dir
from bulkid.secret_file import path_exists

FILE_NAME = "bulkid.toml"

_PREFIX = "BULKID_"
_SECRET_FILES = {entry.name: f"{entry.name}_file" for entry in SETTINGS if entry.secret}
_SECRET_PAIRS = {*_SECRET_FILES, *_SECRET_FILES.values()}
_APPLICATION_LOGINS = ("client_secret", "client_secret_file", "client_assertion_file")  # an application uses one


class _Layer(NamedTuple):
    """One place that gives settings: values by the names of settings, and how messages name the place of each."""

    values: Mapping[str, Any]
    labels: Mapping[str, str]
    base: Path  # where relative paths start, for settings whose paths are relative to the place
    file: str = ""  # the file that it is, as messages call it; empty for options and the environment
    all_relative: bool = False  # a job file: every relative path starts there


def load_settings(
    options: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    job: Mapping[str, Any] | None = None,
    cwd: Path,
    config_dir: Path | None = None,
    offline: bool = False,
    job_name: str = "job file",
    job_dir: Path | None = None,
    job_secrets: Mapping[str, Secret] | None = None,
) -> Settings:
    """Take every setting from the first layer that gives it, and check the value.

    Args:
        options: What the command line gave, by setting name or key; ``None`` and ``[]`` are "not given". Secrets are
            taken only as ``Secret``, which no command line makes: a program may hand them over, an option may not.
        environ: The environment, ``os.environ`` or a stand-in; an empty variable is one that is not set.
        cwd: Working directory: relative paths start here, and the first bulkid.toml is looked for here.
        config_dir: Where the user's bulkid.toml is; by default where the platform keeps configuration.
        offline: Leave the connection alone (its secrets unread, its values unchecked), for commands that have none.
        job_dir: Where the job file is: all its relative paths start there.
        job: The settings of a job file.
        job_name: How to call the job file in messages.
        job_secrets: Secrets that were read from the variables which the job file names.

    Raises:
        UsageError: Something given cannot be used; the message names where it was given and what is allowed.
    """
    cwd = cwd.absolute()
    given = _mapping_layer(options, "option", cwd)
    upper = [given, _environment_layer(environ, cwd)]
    if job is not None:
        upper.append(_job_layer(job, job_secrets or {}, job_name, job_dir or cwd))
    user_dir = (config_dir or default_config_dir()).absolute()
    layers = [*upper, *_file_layers(_profile(upper, cwd), cwd, user_dir)]
    if offline:
        left_alone = {entry.name for entry in SETTINGS if _is_connection_setting(entry.name)}
    else:
        left_alone = set(_unused_logins(layers))
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}
    _resolve_plain(left_alone, layers, cwd, found, sources)
    _resolve_secrets(left_alone, layers, cwd, found, sources)
    if not (offline or found.get("sandbox")):
        ConnectionOrigins(
            places=[(layer.file, layer.values) for layer in layers],
            found=found,
            sources=sources,
            working=str(cwd / FILE_NAME) if user_dir != cwd else "",
            user_file=_user_file(user_dir / FILE_NAME),
        ).refuse_mixed()
    # a relative default starts at the working directory that was given, which need not be the process's
    found.setdefault("report_dir", cwd / setting("report_dir").default)
    return SETTINGS.kind(**found, sources=sources)


def _unused_logins(layers: Sequence[_Layer]) -> tuple[str, ...]:
    """The logins of an application that do not count, since a nearer place gives another one.

    Raises:
        UsageError: One place gives both a secret and an assertion.
    """
    layer = next((each for each in layers if not each.values.keys().isdisjoint(_APPLICATION_LOGINS)), None)
    if layer is None:
        return ()
    secrets, assertion = _APPLICATION_LOGINS[:-1], _APPLICATION_LOGINS[-1]
    secret = next((name for name in secrets if name in layer.values), None)
    if assertion not in layer.values:
        return (assertion,)
    if secret is None:
        return secrets
    raise UsageError(
        f"{layer.labels[secret]} and {layer.labels[assertion]} are both set.",
        hint="Set only one of them: an application signs in with a secret or with an assertion.",
    )


def _is_connection_setting(name: str) -> bool:
    """Whether a command that never connects, and so sends no notification, ignores a setting."""
    return (setting(name).group is CONNECTION and name != "profile") or name.startswith("notify_")


def parse_age(text: str, source: str) -> float:
    """An age such as ``90d`` in seconds, for what is no setting.

    Raises:
        UsageError: It cannot be read; the message begins with ``source``.
    """
    try:
        return parse.age(text)
    except InvalidValueError as bad:
        raise UsageError(f"{source}: {bad.shown} {bad.problem}.", hint="Give 12h, 90d or 4w, say.") from None


def profile_names(cwd: Path) -> list[str]:
    """Return the names of the profiles in the working directory's and the user's bulkid.toml.

    Raises:
        UsageError: A file cannot be read, or holds what is no setting.
    """
    paths = dict.fromkeys((cwd / FILE_NAME, default_config_dir().absolute() / FILE_NAME))
    return sorted({name for path in paths for name in _read_file(path) if name is not None})


def unknown_variables(environ: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """The ``BULKID_`` variables that no setting reads, each with the names it may have been meant for."""
    known = {entry.env.removeprefix(_PREFIX): entry.env for entry in SETTINGS}
    rest = {name: name.upper().removeprefix(_PREFIX) for name in sorted(environ) if name.upper().startswith(_PREFIX)}
    return {
        name: tuple(known[closest] for closest in _closest(word, known))
        for name, word in rest.items()
        if word not in known
    }


def _closest(word: str, known: Iterable[str]) -> tuple[str, ...]:
    from difflib import get_close_matches  # only on the way to an error

    return tuple(get_close_matches(word, list(known), n=3))


def _named(what: str, word: str, known: Iterable[str]) -> str:
    """The hint for an unknown word: the near ones, or all."""
    known = sorted(known)
    closest = _closest(word, known)
    if closest:
        return f"Did you mean {' or '.join(closest)}?"
    return f"{what}: {', '.join(known)}." if known else ""


# --- the layers


def read_toml(path: Path, instead: str = "") -> dict[str, Any] | None:
    """The file as a mapping; None when there is no such file.

    Args:
        path: Its path.
        instead: What else a user can do where it cannot be read, with an ``or`` in front.

    Raises:
        UsageError: It cannot be read, or is no TOML file.
    """
    try:
        if kind := special_kind(path):
            raise UsageError(f"{path} is {kind}, not a TOML file.")
        text = path.read_bytes().decode("utf-8-sig")
        import tomllib  # mostly there is no such file

        return tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}).",
            hint=f"Let this user read it and search {path.parent}{instead}.",
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text.", hint="Save it as UTF-8.") from None
    except RecursionError:
        raise UsageError(f"{path} is not a TOML file that bulkid takes: it nests too deep.") from None
    except ValueError as error:
        raise UsageError(f"{path} is not a TOML file: {error}.") from None


def _mapping_layer(given: Mapping[str, Any], name: str, base: Path) -> _Layer:
    """The options of a command line, the settings of a job file, or a table of bulkid.toml."""
    values: dict[str, Any] = {}
    labels: dict[str, str] = {}
    is_option = name == "option"
    for key, value in given.items():
        if value is None or (is_option and isinstance(value, list | tuple) and not value):
            continue
        entry = _known(key, name, values)
        if entry.secret and not (is_option and isinstance(value, Secret)):
            raise _misplaced_secret(entry, name)
        values[entry.name] = value
        labels[entry.name] = f"option {entry.option or entry.key}" if is_option else f"{name}, key {key}"
    return _Layer(values, labels, base)


def _job_layer(job: Mapping[str, Any], secrets: Mapping[str, Secret], name: str, base: Path) -> _Layer:
    layer = _mapping_layer(job, name, base)
    keys = {
        secret: secret.replace("_", ".", 1) if secret.startswith("notify_") else f"{secret}_env" for secret in secrets
    }
    labels = {secret: f"{name}, key {key}" for secret, key in keys.items()}
    return _Layer({**layer.values, **secrets}, {**layer.labels, **labels}, base, name, all_relative=True)


def _environment_layer(environ: Mapping[str, str], base: Path, *, ignore_case: bool = os.name == "nt") -> _Layer:
    if ignore_case:  # Windows: a copy of os.environ may have lost that Bulkid_Url and BULKID_URL are one
        environ = {name.upper(): value for name, value in environ.items()}
    values = {entry.name: environ[entry.env] for entry in SETTINGS if environ.get(entry.env)}
    return _Layer(values, {name: f"environment variable {setting(name).env}" for name in values}, base)


def _file_layers(chosen: tuple[str, str] | None, cwd: Path, user_dir: Path) -> list[_Layer]:
    """The profile's tables, then the default tables; in each, the working directory before the user's.

    ``chosen`` is what :func:`_profile` gives.

    Raises:
        UsageError: A file cannot be used, or none has the profile.
    """
    paths = dict.fromkeys((cwd / FILE_NAME, user_dir / FILE_NAME))
    files = [_read_file(path, cwd) for path in paths]
    layers = []
    if chosen is not None:
        profile, source = chosen
        layers += [tables[profile] for tables in files if profile in tables]
        if not layers:
            known = {name for tables in files for name in tables if name is not None}
            looked = " and ".join(str(path) for path in paths)
            hint = _named("Profiles", profile, known) or f"Put it there as a table [profiles.{profile}]."
            raise UsageError(f"{source}: there is no profile {profile!r} in {looked}.", hint=hint)
    return [*layers, *(tables[None] for tables in files if tables)]


def _user_file(path: Path) -> UserFile:
    """What the user's file says of secrets, in all its tables, also of profiles that are not in use."""
    tables = _read_file(path)
    default = tables[None].values if tables else {}
    names = [name for name in CREDENTIALS if name.endswith("_file")]
    return UserFile(
        path,
        [
            (table.base / str(table.values[name]), table.values.get("url", default.get("url")))
            for table in tables.values()
            for name in names
            if name in table.values
        ],
    )


def _read_file(path: Path, cwd: Path | None = None) -> dict[str | None, _Layer]:
    """The tables of a bulkid.toml by profile; None is the default's. There are none where there is no file."""
    document = read_toml(path, ", or start bulkid in another folder" if path.parent == cwd else "")
    if document is None:
        return {}
    for key in document:
        if key not in {"default", "profiles"}:
            raise UsageError(
                f"{path} has {key!r} at its top.",
                hint="Settings belong into the table [default] or a table [profiles.NAME].",
            )
    tables = {None: _table_layer(document.get("default", {}), f"table [default] in {path}", path)}
    profiles = document.get("profiles", {})
    if not isinstance(profiles, dict):
        raise UsageError(f"{path}: profiles is not a table.", hint="Write each profile as [profiles.NAME].")
    return tables | {name: _table_layer(table, f"profile {name} in {path}", path) for name, table in profiles.items()}


def _table_layer(table: object, name: str, path: Path) -> _Layer:
    """A table; its keys are checked also when its profile is not the one in use, so that a typo is found early."""
    if not isinstance(table, dict):
        raise UsageError(f"{name} is not a table.", hint="Write each profile as [profiles.NAME].")
    layer = _mapping_layer(table, name, path.parent)
    for key in table:
        if not setting(key).in_profile:
            raise UsageError(f"{name}: key {key} names a profile from within one.")
    return layer._replace(file=str(path))


def _known(key: str, name: str, seen: Container[str]) -> Setting:
    try:
        entry = setting(key)
    except KeyError:
        keys = [entry.key for entry in SETTINGS if not entry.secret]
        raise UsageError(f"{name}: unknown key {key!r}.", hint=_named("Keys", key.replace("-", "_"), keys)) from None
    if entry.name in seen:
        raise UsageError(f"{name}: {entry.key} is given twice, as {key} too.")
    return entry


def _misplaced_secret(entry: Setting, name: str) -> UsageError:
    return UsageError(
        f"{name}: key {entry.key} is a secret, and bulkid takes none from there.",
        hint=f"Set the environment variable {entry.env}, or name a file that only you can read in {entry.key}_file "
        f"({entry.env}_FILE).",
    )


# --- the values


def _profile(layers: Iterable[_Layer], cwd: Path) -> tuple[str, str] | None:
    """The profile's name, which is needed before the files are read, and who named it."""
    entry = setting("profile")
    layer = next((each for each in layers if entry.name in each.values), None)
    return None if layer is None else (str(_parsed(entry, layer, cwd)), layer.labels[entry.name])


def _parsed(entry: Setting, layer: _Layer, cwd: Path) -> object:
    try:
        value = entry.parse(layer.values[entry.name])
    except InvalidValueError as bad:
        raise _invalid_value(entry, layer, bad.problem, bad.shown) from None
    if not isinstance(value, Path):
        return value
    value = (layer.base if entry.relative_to_file or layer.all_relative else cwd) / value
    if layer.all_relative:
        value = Path(os.path.normpath(value))  # jobs/../reports reads badly
    if entry.name == "ca_bundle" and not path_exists(value):
        raise _invalid_value(entry, layer, "does not exist", repr(str(value)))
    return value


def _invalid_value(entry: Setting, layer: _Layer, problem: str, shown: str) -> UsageError:
    if entry.secret or entry.holds_secret:
        shown = "the value"  # the path of a secret file may be the secret itself, put into the wrong variable
    return UsageError(f"{layer.labels[entry.name]}: {shown or 'it'} {problem}.", hint=f"Give {entry.allowed}.")


def _resolve_plain(
    left_alone: Container[str], layers: Sequence[_Layer], cwd: Path, found: dict[str, Any], sources: dict[str, str]
) -> None:
    """Take each setting that is neither a secret nor a secret's file from the first layer that gives it."""
    for entry in SETTINGS:
        if entry.name in left_alone or entry.name in _SECRET_PAIRS:
            continue
        layer = next((each for each in layers if entry.name in each.values), None)
        if layer is not None:
            found[entry.name] = _parsed(entry, layer, cwd)
            sources[entry.name] = layer.labels[entry.name]


def _resolve_secrets(
    left_alone: Container[str], layers: Sequence[_Layer], cwd: Path, found: dict[str, Any], sources: dict[str, str]
) -> None:
    """Take each secret from the first layer that gives it or its file; one layer may not give both."""
    for name, file_name in _SECRET_FILES.items():
        if name in left_alone:
            continue
        layer = next((each for each in layers if name in each.values or file_name in each.values), None)
        if layer is None:
            continue
        if name in layer.values and file_name in layer.values:
            raise UsageError(
                f"{layer.labels[name]} and {layer.labels[file_name]} are both set.", hint="Set only one of them."
            )
        if name in layer.values:
            found[name] = _parsed(setting(name), layer, cwd)
            sources[name] = layer.labels[name]
        else:
            found[file_name] = path = Path(str(_parsed(setting(file_name), layer, cwd)))
            found[name] = read_secret(path, setting(name), layer.labels[file_name])
            sources[name] = sources[file_name] = layer.labels[file_name]
