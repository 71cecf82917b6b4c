"""The keys of a job file: the settings that bulkid.toml knows but for the console's, and what only a job has.

The settings come from the one table, so that a setting which is added there is a key of job files, of their schema and
of their docs without another word here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import Field, WithJsonSchema, WrapValidator
from pydantic_core import PydanticCustomError

from bulkid.config import SETTINGS, Setting, Settings, parse
from bulkid.config.parse import InvalidValueError, Parse
from bulkid.model import FailureBound

SECRET_FILE_SETTINGS = frozenset(f"{line.name}_file" for line in SETTINGS if line.secret)
"""Settings whose value may be a secret that was put into the wrong place."""

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}


def checked(parse: Parse, allowed: str, schema: Mapping[str, Any], about: str, *, shown: bool = True) -> Any:  # noqa: ANN401 - a type
    """A field that keeps what the file says, once ``parse`` has taken it.

    Args:
        parse: Raises ``InvalidValueError`` for what cannot be used.
        allowed: What can; the end of the error message.
        schema: The JSON schema of what can.
        about: What the key is, for schema and docs.
        shown: Whether the message of a fault may show the value.
    """

    def check(value: object, _handler: object) -> object:
        try:
            parse(value)
        except InvalidValueError as bad:
            context = {"problem": bad.problem, "shown": bad.shown if shown else "", "allowed": allowed}
            raise PydanticCustomError("bad_value", "{problem}", context) from None
        return value

    described = {**schema, "description": f"{about[:1].upper()}{about[1:]}: {allowed}."}
    return Annotated[Any, WrapValidator(check), WithJsonSchema(described)]


def _schema_of(kind: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a type
    """The JSON schema of a setting, from the type that it has in ``Settings``."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"type": "string", "enum": list(inner)}
    if origin is tuple:
        return _TEXTS
    if origin is not None and issubclass(origin if isinstance(origin, type) else object, Mapping):
        return {"anyOf": [{"type": "object", "additionalProperties": _TEXT}, *_TEXTS["anyOf"]]}
    if inner:  # X | None
        return _schema_of(next(each for each in inner if each is not type(None)))
    plain = {bool: "boolean", int: "integer", float: "number", FailureBound: ["integer", "string"]}
    return {"type": plain.get(kind, "string")}


def _field(line: Setting, kind: Any) -> tuple[Any, Any]:  # noqa: ANN401 - a type
    schema = dict(_schema_of(kind))
    if line.parse is parse.verbosity:
        schema = {"type": ["integer", "boolean"]}
    if line.name == "max_duration":
        schema = {"type": ["string", "number"]}
    kind = checked(line.parse, line.allowed, schema, line.help, shown=line.name not in SECRET_FILE_SETTINGS)
    return kind, Field(default=None, alias=line.key)


def setting_fields() -> dict[str, tuple[Any, Any]]:
    """A pydantic field for every setting that a file may hold, by its key."""
    hints = get_type_hints(Settings)
    # pydantic's own models have an attribute "json"; the underscore keeps clear of any such
    return {
        f"{line.key}_": _field(line, hints[line.name])
        for line in SETTINGS
        if not line.secret and line.group != "console"
    }


def path(raw: object) -> Path:
    """A path as a job file gives it."""
    return parse.path(raw)


def pattern(raw: object) -> str:
    """A file name with ``*`` and ``?``."""
    text = parse.text(raw)
    if "/" in text or "\\" in text:
        raise InvalidValueError("holds a folder: files are looked for in the drop folder alone", parse.show(raw))
    return text


def variable(raw: object) -> str:
    """The name of an environment variable; whatever else stands there may be the secret itself."""
    text = raw if isinstance(raw, str) else ""
    if not (text.isascii() and text.isidentifier() and text == text.upper()):
        raise InvalidValueError("is not the name of an environment variable")
    return text


def references(raw: object) -> tuple[str, ...]:
    """Where the addresses of services stand: variables and files. An address itself holds a password or a token."""
    items = list(raw) if isinstance(raw, list | tuple) else [raw]
    for item in items:
        text = item.strip() if isinstance(item, str) else ""
        scheme, colon, rest = text.partition(":")
        if scheme == "env" and colon:
            variable(rest)
        elif scheme == "file" and colon and not rest.startswith("//"):
            parse.path(rest)
        else:
            raise InvalidValueError(
                "is no reference; an address holds a password or a token, and a job file holds none"
            )
    return tuple(str(item).strip() for item in items)
