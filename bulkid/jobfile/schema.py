"""The keys of job files as a pydantic model, and their JSON schema.

The settings among the keys come from the table of settings.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema, WrapValidator, create_model
from pydantic_core import PydanticCustomError

from bulkid.config import parse
from bulkid.config.parse import InvalidValueError, Parse
from bulkid.config.settings import SETTINGS, Setting
from bulkid.model import FailureBound
from bulkid.runs.jobs.drop_folder import SETTLE_S

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}


def checked(parse: Parse, allowed: str, schema: Mapping[str, Any], about: str, *, shown: bool = True) -> Any:  # noqa: ANN401 - a type
    """A field that keeps what the file says, once ``parse`` has taken it.

    Error messages end with ``allowed``; ``about`` describes the key in schema and docs. With ``shown`` False no
    message shows the value.
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


def _field(entry: Setting) -> tuple[Any, Any]:
    schema = {"type": list(entry.json_types)} if entry.json_types else _schema_of(entry.kind)
    kind = checked(entry.parse, entry.allowed, schema, entry.help, shown=not entry.holds_secret)
    return kind, Field(default=None, alias=entry.key)


def pattern(raw: object) -> str:
    """A file name with ``*`` and ``?``."""
    text = parse.text(raw)
    if "/" in text or "\\" in text:
        raise InvalidValueError("holds a folder: files are looked for in the drop folder alone", parse.show(raw))
    return text


def variable(raw: object) -> str:
    """The name of an environment variable; any other text may be the secret itself."""
    text = raw if isinstance(raw, str) else ""
    if not (text.isascii() and text.isidentifier() and text == text.upper()):
        raise InvalidValueError("is not the name of an environment variable")
    return text


def references(raw: object) -> tuple[str, ...]:
    """The places of the addresses of services: variables and files. An address itself holds a password or a token."""
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


# --- the model

_VARIABLE = "the name of an environment variable in capitals, such as ACME_SECRET"
_SERVICE = "env:NAME or file:PATH: the variable or the file that holds the address of a service, or several of them"


def _model(name: str, title: str, about: str, keys: Mapping[str, tuple[Any, Any]]) -> type[BaseModel]:
    """A model whose keys are known only from a table."""
    config = ConfigDict(extra="forbid", title=title)
    made: type[BaseModel] = create_model(name, __config__=config, __doc__=about, **keys)  # type: ignore[call-overload]
    return made


Folder = _model(
    "Folder",
    "Drop folder",
    "A drop folder: its files are taken one after the other.",
    {
        "folder": (checked(parse.path, "the path of a folder", _TEXT, "drop folder"), Field()),
        "glob": (
            checked(pattern, "a file name with * and ?, such as *.xlsx", _TEXT, "which files are taken"),
            Field("*"),
        ),
        "settle": (
            checked(
                parse.number(0, 3600),
                "seconds, from 0 to 3600",
                {"type": "number", "minimum": 0, "maximum": 3600},
                "how long a file must stay as it is until it counts as complete",
            ),
            Field(SETTLE_S),
        ),
    },
)

Notify = _model(
    "Notify",
    "Notify",
    "Recipients of notifications about runs.",
    {
        kind: (
            checked(references, _SERVICE, _TEXTS, f"recipients of the notification of {runs}", shown=False),
            Field([]),
        )
        for kind, runs in (
            ("success", "a run that ends with 0"),
            ("failure", "a run that ends otherwise"),
            ("always", "every run"),
        )
    },
)

_Sheet = checked(parse.path, "the path of a sheet, or a table with folder, glob and settle", _TEXT, "the sheet")
Source = Annotated[
    Union[Annotated[_Sheet, Tag("<sheet>")], Annotated[Folder, Tag("<folder>")]],  # type: ignore[valid-type]  # noqa: UP007 - values, not types
    Discriminator(lambda raw: "<folder>" if isinstance(raw, Mapping | BaseModel) else "<sheet>"),
]
"""A sheet, or a drop folder of them."""

_JOB_KEYS: dict[str, tuple[Any, Any]] = {
    "name": (checked(parse.text, "text", _TEXT, "name of the job, by which its runs are known"), Field(None)),
    "description": (checked(parse.text, "text", _TEXT, "what the job is for"), Field(None)),
    "source": (Source, Field()),
    **{
        key: (checked(variable, _VARIABLE, _TEXT, f"variable that holds {held}", shown=False), Field(None))
        for key, held in (("client_secret_env", "the client secret"), ("access_token_env", "an access token"))
    },
    "notify": (Union[Notify, None], Field(None)),  # noqa: UP007 - a value
}


@cache
def job_model() -> type[BaseModel]:
    """Return the model of a whole job file."""
    # pydantic's own models have an attribute "json"; the underscore keeps clear of any such
    settings = {f"{entry.key}_": _field(entry) for entry in SETTINGS if entry.in_job}
    return _model("Job", "A job of bulkid", "What runs without a person.", {**_JOB_KEYS, **settings})


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a model, as a file has them."""
    return [each.alias or name for name, each in model.model_fields.items()]


def job_schema() -> dict[str, Any]:
    """The JSON schema of a job file, for editors."""
    schema = _plain(job_model().model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _plain(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Remove what does not help an editor: titles made of names, and defaults that mean "not given"."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {name: _plain(value) for name, value in schema.items() if not (name == "default" and value in (None, []))}
    if isinstance(kept.get("title"), str) and ("type" not in kept or kept["type"] != "object"):
        del kept["title"]
    # "notify": {"anyOf": [{...}, {"type": "null"}]}: TOML has no null
    if isinstance(kept.get("anyOf"), list) and {"type": "null"} in kept["anyOf"]:
        kept["anyOf"].remove({"type": "null"})
    return kept
