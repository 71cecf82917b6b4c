"""What a job file may hold, as a pydantic model; its JSON schema, and the table of its keys for the docs."""

from collections.abc import Mapping
from typing import Annotated, Any, Union

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model

from bulkid.config import parse
from bulkid.jobfile.fields import checked, path, pattern, references, setting_fields, variable

SETTLE_S = 10.0
"""How long a file in a drop folder must stay as it is until it counts as complete."""

_TEXT = {"type": "string"}
_PLACES = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
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
        "folder": (checked(path, "the path of a folder", _TEXT, "drop folder"), Field()),
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
    "Whom to tell how a run ended.",
    {
        "success": (checked(references, _SERVICE, _PLACES, "told of a run that ends with 0", shown=False), Field([])),
        "failure": (
            checked(references, _SERVICE, _PLACES, "told of a run that ends otherwise", shown=False),
            Field([]),
        ),
        "always": (checked(references, _SERVICE, _PLACES, "told of every run", shown=False), Field([])),
    },
)

_Sheet = checked(path, "the path of a sheet, or a table with folder, glob and settle", _TEXT, "the sheet")
Source = Annotated[
    Union[Annotated[_Sheet, Tag("<sheet>")], Annotated[Folder, Tag("<folder>")]],  # type: ignore[valid-type]  # noqa: UP007 - values, not types
    Discriminator(lambda raw: "<folder>" if isinstance(raw, Mapping | BaseModel) else "<sheet>"),
]
"""A sheet, or a drop folder of them."""

_JOB_KEYS: dict[str, tuple[Any, Any]] = {
    "name": (checked(parse.text, "text", _TEXT, "name of the job, by which its runs are known"), Field(None)),
    "description": (checked(parse.text, "text", _TEXT, "what the job is for"), Field(None)),
    "source": (Source, Field()),
    "client_secret_env": (
        checked(variable, _VARIABLE, _TEXT, "variable that holds the client secret", shown=False),
        Field(None),
    ),
    "access_token_env": (
        checked(variable, _VARIABLE, _TEXT, "variable that holds an access token", shown=False),
        Field(None),
    ),
    "notify": (Union[Notify, None], Field(None)),  # noqa: UP007 - a value
}

JobModel = _model("Job", "A job of bulkid", "What runs without a person.", {**_JOB_KEYS, **setting_fields()})
"""A whole job file."""


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a model, as a file has them."""
    return [each.alias or name for name, each in model.model_fields.items()]


def job_schema() -> dict[str, Any]:
    """The JSON schema of a job file, for editors."""
    schema = _plain(JobModel.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _plain(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Without what says nothing to an editor: titles made of names, and defaults that are "not given"."""
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


def job_markdown() -> str:
    """The table of the keys that only a job has, for the docs; all others are settings (``docs/settings.md``)."""
    described = JobModel.model_json_schema()
    tables = {"": described, "source.": described["$defs"]["Folder"], "notify.": described["$defs"]["Notify"]}
    defaults = {"name": "the file's name", "glob": "`*`", "settle": f"{SETTLE_S:g}"}
    lines = ["| key | what it is | default |", "| --- | --- | --- |", "| `source` | The sheet: its path. | |"]
    for prefix, names in (("source.", keys_of(Folder)), ("", _JOB_KEYS), ("notify.", keys_of(Notify))):
        for name in names:
            about = tables[prefix]["properties"][name].get("description")
            if about:
                lines.append(f"| `{prefix}{name}` | {about} | {defaults.get(name, '')} |")
    return "\n".join(lines) + "\n"
