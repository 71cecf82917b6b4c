"""From what was said in five places to one checked ``Settings``: options, environment, job file, bulkid.toml, defaults.

Every error names the place, so that an admin knows which of the five to mend. No error holds a secret, nor a value
that may be one by mistake (the path of a secret file is shown only when it exists).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulkid.config import parse
from bulkid.config.credential_origins import SettingsFile, refuse_mixed
from bulkid.config.parse import InvalidValueError, Secret
from bulkid.config.setting import Setting
from bulkid.config.settings import SETTINGS, Settings, setting
from bulkid.config.toml import read_toml
from bulkid.errors import UsageError
from bulkid.paths import default_config_dir

FILE_NAME = "bulkid.toml"

_PREFIX = "BULKID_"
_MAX_SECRET_BYTES = 64 * 1024  # bytes: no secret is longer, and /dev/zero must end
_SECRET_FILES = {
    name: f"{name}_file"
    for name in ("client_secret", "access_token", "database_url", "notify_success", "notify_failure", "notify_always")
}
_SECRET_PAIRS = {*_SECRET_FILES, *_SECRET_FILES.values()}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # what Windows PowerShell's ">" writes


@dataclass(frozen=True, slots=True)
class _Layer:
    """One place where settings are said: values by the table's names, and the words that name the place of each."""

    values: Mapping[str, Any]
    words: Mapping[str, str]
    base: Path  # where the relative paths start that start at the place itself
    file: str = ""  # the file that it is, as messages call it; empty for options and the environment
    all_relative: bool = False  # a job file: every relative path starts there


@dataclass(frozen=True, slots=True)
class _File:
    """One bulkid.toml, its tables by name."""

    path: Path
    default: Mapping[str, Any] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def load_settings(
    options: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    job: Mapping[str, Any] | None = None,
    profile: str | None = None,
    cwd: Path,
    config_dir: Path | None = None,
    offline: bool = False,
    job_name: str = "job file",
    job_dir: Path | None = None,
    job_secrets: Mapping[str, Secret] | None = None,
) -> Settings:
    """Settle every setting by the first place that says something of it, and check what it says.

    Args:
        options: What the command line gave, by setting name or key; ``None`` and ``[]`` are "not given". Secrets are
            taken only as ``Secret``, which no command line makes: a program may hand them over, an option may not.
        environ: The environment, ``os.environ`` or a stand-in; an empty variable is one that is not set.
        job: The settings of a job file.
        profile: The profile that the command line named; other places may name one too.
        cwd: Working directory: relative paths start here, and the first bulkid.toml is looked for here.
        config_dir: Where the user's bulkid.toml lies; by default where the platform keeps configuration.
        offline: Leave the connection alone (its secrets unread, its values unchecked), for commands that have none.
        job_name: How to call the job file in messages.
        job_dir: Where the job file lies: all its relative paths start there.
        job_secrets: Secrets that were read from the variables which the job file names.

    Raises:
        UsageError: Something given cannot be used; the message names where it was given and what is allowed.
    """
    cwd = cwd.absolute()
    given = _mapping_layer({**options, "profile": options.get("profile") or profile}, "option", cwd)
    upper = [given, _environment_layer(environ, cwd)]
    if job is not None:
        upper.append(_job_layer(job, job_secrets or {}, job_name, job_dir or cwd))
    layers = [*upper, *_file_layers(_profile(upper, cwd), cwd, config_dir)]
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for line in SETTINGS:
        if line.name in _SECRET_PAIRS or (offline and _is_connection_setting(line.name)):
            continue
        layer = next((each for each in layers if line.name in each.values), None)
        if layer is not None:
            found[line.name] = _parsed(line, layer, cwd)
            sources[line.name] = layer.words[line.name]
    wanted = [name for name in _SECRET_FILES if not (offline and _is_connection_setting(name))]
    _resolve_secrets(wanted, layers, cwd, found, sources)
    if not (offline or found.get("sandbox")):
        user_dir = (config_dir or default_config_dir()).absolute()
        refuse_mixed(
            [SettingsFile(layer.file, layer.values) for layer in layers],
            found,
            sources,
            working=str(cwd / FILE_NAME) if user_dir != cwd else "",
            user_dir=user_dir,
        )
    # a relative default starts at the working directory that was given, which need not be the process's
    found.setdefault("report_dir", cwd / setting("report_dir").default)
    return Settings(**found, sources=sources)


def _is_connection_setting(name: str) -> bool:
    """Whether a setting is of no use to a command that never connects: nobody is told of what it does either."""
    return (setting(name).group == "connection" and name != "profile") or name.startswith("notify_")


def parse_age(text: str, source: str) -> float:
    """An age such as ``90d`` in seconds, for what is no setting.

    Raises:
        UsageError: It cannot be read; the message begins with ``source``.
    """
    try:
        return parse.age(text)
    except InvalidValueError as bad:
        raise UsageError(f"{source}: {bad.shown} {bad.problem}.", hint="Give 12h, 90d or 4w, say.") from None


def unknown_variables(environ: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """The ``BULKID_`` variables that no setting reads, each with the names it may have been meant for."""
    known = {line.env.removeprefix(_PREFIX): line.env for line in SETTINGS}
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


def _mapping_layer(given: Mapping[str, Any], name: str, base: Path) -> _Layer:
    """Options of a command line, or the settings of a job file."""
    values: dict[str, Any] = {}
    words: dict[str, str] = {}
    is_option = name == "option"
    for key, value in given.items():
        if value is None or (is_option and isinstance(value, list | tuple) and not value):
            continue
        line = _known(key, name)
        if line.name in values:
            raise UsageError(f"{name}: {line.key} is given twice, as {key} too.")
        if line.secret and not (is_option and isinstance(value, Secret)):
            raise _misplaced_secret(line, name)
        values[line.name] = value
        words[line.name] = f"option {line.option or line.key}" if is_option else f"{name}, key {key}"
    return _Layer(values, words, base)


def _job_layer(job: Mapping[str, Any], secrets: Mapping[str, Secret], name: str, base: Path) -> _Layer:
    layer = _mapping_layer(job, name, base)
    keys = {
        secret: secret.replace("_", ".", 1) if secret.startswith("notify_") else f"{secret}_env" for secret in secrets
    }
    words = {secret: f"{name}, key {key}" for secret, key in keys.items()}
    return _Layer({**layer.values, **secrets}, {**layer.words, **words}, base, name, all_relative=True)


def _environment_layer(environ: Mapping[str, str], base: Path, *, ignore_case: bool = os.name == "nt") -> _Layer:
    if ignore_case:  # Windows: a copy of os.environ may have lost that Bulkid_Url and BULKID_URL are one
        environ = {name.upper(): value for name, value in environ.items()}
    values = {line.name: environ[line.env] for line in SETTINGS if environ.get(line.env)}
    return _Layer(values, {name: f"environment variable {setting(name).env}" for name in values}, base)


def _file_layers(chosen: tuple[str, str] | None, cwd: Path, config_dir: Path | None) -> list[_Layer]:
    """The profile's tables, then the default tables; in each, the working directory before the user's."""
    if config_dir is None:
        config_dir = default_config_dir()
    paths = dict.fromkeys((cwd / FILE_NAME, config_dir.absolute() / FILE_NAME))
    files = [file for file in map(_read_file, paths) if file is not None]
    layers = []
    if chosen is not None:
        profile, source = chosen
        named = [file for file in files if profile in file.profiles]
        if not named:
            known = {name for file in files for name in file.profiles}
            looked = " and ".join(str(path) for path in paths)
            hint = _named("Profiles", profile, known) or f"Put it there as a table [profiles.{profile}]."
            raise UsageError(f"{source}: there is no profile {profile!r} in {looked}.", hint=hint)
        layers += [_table_layer(file.profiles[profile], f"profile {profile} in {file.path}", file) for file in named]
    layers += [_table_layer(file.default, f"table [default] in {file.path}", file) for file in files]
    return layers


def _table_layer(table: Mapping[str, Any], name: str, file: _File) -> _Layer:
    values = {setting(key).name: value for key, value in table.items()}
    words = {setting(key).name: f"{name}, key {key}" for key in table}
    return _Layer(values, words, file.path.parent, str(file.path))


def _read_file(path: Path) -> _File | None:
    document = read_toml(path)
    if document is None:
        return None
    for key in document:
        if key not in {"default", "profiles"}:
            raise UsageError(
                f"{path} has {key!r} at its top.",
                hint="Settings belong into the table [default] or a table [profiles.NAME].",
            )
    default = _checked_table(document.get("default", {}), f"table [default] in {path}")
    profiles = document.get("profiles", {})
    if not isinstance(profiles, dict):
        raise UsageError(f"{path}: profiles is not a table.", hint="Write each profile as [profiles.NAME].")
    checked = {name: _checked_table(table, f"profile {name} in {path}") for name, table in profiles.items()}
    return _File(path, default, checked)


def _checked_table(table: object, name: str) -> Mapping[str, Any]:
    """A table whose keys are all known, also when its profile is not the one in use: a typo is found early."""
    if not isinstance(table, dict):
        raise UsageError(f"{name} is not a table.", hint="Write each profile as [profiles.NAME].")
    seen = set()
    for key in table:
        line = _known(key, name)
        if line.secret:
            raise _misplaced_secret(line, name)
        if not line.in_profile:
            raise UsageError(f"{name}: key {key} names a profile from within one.")
        if line.name in seen:
            raise UsageError(f"{name}: {line.key} is given twice, as {key} too.")
        seen.add(line.name)
    return table


def _known(key: str, name: str) -> Setting:
    try:
        return setting(key)
    except KeyError:
        keys = [line.key for line in SETTINGS if not line.secret]
        raise UsageError(f"{name}: unknown key {key!r}.", hint=_named("Keys", key.replace("-", "_"), keys)) from None


def _misplaced_secret(line: Setting, name: str) -> UsageError:
    return UsageError(
        f"{name}: key {line.key} is a secret, and bulkid takes none from there.",
        hint=f"Set the environment variable {line.env}, or name a file that only you can read in {line.key}_file "
        f"({line.env}_FILE).",
    )


# --- the values


def _profile(layers: Iterable[_Layer], cwd: Path) -> tuple[str, str] | None:
    """The profile's name, which is needed before the files are read, and who named it."""
    line = setting("profile")
    layer = next((each for each in layers if line.name in each.values), None)
    return None if layer is None else (str(_parsed(line, layer, cwd)), layer.words[line.name])


def _parsed(line: Setting, layer: _Layer, cwd: Path) -> object:
    try:
        value = line.parse(layer.values[line.name])
    except InvalidValueError as bad:
        raise _invalid_value(line, layer, bad.problem, bad.shown) from None
    if not isinstance(value, Path):
        return value
    value = (layer.base if line.relative_to_file or layer.all_relative else cwd) / value
    if layer.all_relative:
        value = Path(os.path.normpath(value))  # jobs/../reports reads badly
    if line.name == "ca_bundle" and not _exists(value):
        raise _invalid_value(line, layer, "does not exist", repr(str(value)))
    return value


def _invalid_value(line: Setting, layer: _Layer, problem: str, shown: str = "") -> UsageError:
    if line.secret or line.name in _SECRET_FILES.values():
        shown = "the value"  # the path of a secret file may be the secret itself, put into the wrong variable
    return UsageError(f"{layer.words[line.name]}: {shown or 'it'} {problem}.", hint=f"Give {line.allowed}.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be searched
        return False


def _resolve_secrets(
    names: Iterable[str], layers: Sequence[_Layer], cwd: Path, found: dict[str, Any], sources: dict[str, str]
) -> None:
    """Each secret, from the first place that gives it or its file; one place may not give both."""
    for name in names:
        file_name = _SECRET_FILES[name]
        layer = next((each for each in layers if name in each.values or file_name in each.values), None)
        if layer is None:
            continue
        if name in layer.values and file_name in layer.values:
            raise UsageError(
                f"{layer.words[name]} and {layer.words[file_name]} are both set.", hint="Set only one of them."
            )
        if name in layer.values:
            found[name] = _parsed(setting(name), layer, cwd)
            sources[name] = layer.words[name]
        else:
            found[file_name] = path = Path(str(_parsed(setting(file_name), layer, cwd)))
            found[name] = read_secret(path, setting(name), layer.words[file_name])
            sources[name] = sources[file_name] = layer.words[file_name]


def read_secret(path: Path, line: Setting, source: str) -> Secret:
    """What a secret's file holds. Its path is shown only when something is there.

    Raises:
        UsageError: It cannot be read, or holds no such secret.
    """
    shown = str(path) if _exists(path) else "the file it names"
    try:
        secret: Secret = line.parse(_file_text(path))
        return secret  # noqa: TRY300 - the errors below are those of this one line
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except ValueError:
        problem = "is not text"
    except InvalidValueError as bad:
        problem = bad.problem
    raise UsageError(f"{source}: {shown} {problem}.", hint=f"It must hold {line.allowed}.")


def _file_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_SECRET_BYTES + 1)
    if len(content) > _MAX_SECRET_BYTES:
        raise InvalidValueError("is too large to be the file of a secret")
    return content.decode("utf-16" if content.startswith(_UTF16_MARKS) else "utf-8-sig").rstrip("\r\n")
