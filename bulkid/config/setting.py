"""One setting: the columns of its entry, and what follows from them."""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args, get_origin, overload

from bulkid.config import parse
from bulkid.config.parse import Parse

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One entry of the table.

    The defaults of ``parse`` and ``allowed`` are those of a switch; for a ``Literal`` they follow from its values.
    """

    group: "Group"  # section of the help pages and of the docs
    help: str  # what it does; no full stop
    parse: Parse = parse.flag  # makes the value of what was given
    allowed: str = "1, true, yes or on; 0, false, no or off"  # what may be given; also the end of the error message
    default_text: str | None = None  # the default for the help; None where it is the text of the default itself
    key: str = ""  # the name in bulkid.toml and job files; the field's by default
    option: str | None = None  # by default the key after ``--``; empty for a setting that no command line takes
    json_types: tuple[str, ...] = ()  # of JSON schema, for job files; they follow from the type by default
    metavar: str = ""  # the value's name in the help; it follows from the type by default
    commands: tuple[str, ...] = ()  # take the option; those of the group by default
    secret: bool = False  # the value is never shown, and no file that holds other settings may hold it
    in_profile: bool = True  # False for the name of the profile itself
    relative_to_file: bool = False  # a relative path in bulkid.toml starts at that file, else at the working directory
    repeatable: bool = False  # the option may be given several times
    credential: bool = False  # it is sent to the server of the setting url, or is a file that holds what is
    name: str = ""  # the field of ``Settings``. This and what follows is derived
    env: str = ""  # the environment variable
    kind: Any = None  # the type of the value
    default: Any = None  # the value itself, or the function that makes it

    @property
    def in_job(self) -> bool:
        """Whether a job file may hold it."""
        return not self.secret and self.group.in_job


@dataclass(frozen=True, slots=True)
class Group:
    """Settings about one subject: a section of the help pages and of the docs."""

    name: str  # the section's heading, in lower case
    commands: tuple[str, ...]  # take the options of the group, where a setting names no others
    in_job: bool = True  # whether a job file may hold them

    @overload
    def setting(self, default: Callable[[], T], *columns: Any, **named: Any) -> T: ...  # noqa: ANN401 - Setting's columns

    @overload
    def setting(self, default: T, *columns: Any, **named: Any) -> T: ...  # noqa: ANN401 - Setting's columns

    def setting(self, default: Any, *columns: Any, **named: Any) -> Any:
        """Make a field of :class:`Settings` with an entry. ``columns``: its help, parse and allowed."""
        metadata = {"setting": Setting(self, *columns, **named)}
        if callable(default):
            return field(default_factory=default, metadata=metadata)
        return field(default=default, metadata=metadata)

    def secret(self, about: str, parse: Parse, allowed: str, **named: Any) -> Any:  # noqa: ANN401 - Setting's columns
        """Make a field for a secret, which no option and no file with other settings gives."""
        return self.setting(None, about, parse, allowed, option="", secret=True, **named)

    def secret_file(self, about: str, allowed: str, **named: Any) -> Any:  # noqa: ANN401 - Setting's columns
        """Make a field for the path of a file that holds a secret and nothing else."""
        return self.setting(None, about, parse.path, allowed, option="", relative_to_file=True, **named)


class SettingsTable(Generic[S]):
    """The entries of a dataclass of settings, by name and key."""

    def __init__(self, kind: type[S]) -> None:
        self.kind = kind
        self.entries = tuple(_complete(each) for each in fields(kind) if "setting" in each.metadata)
        self.by_name = {name: each for each in self.entries for name in (each.name, each.key)}

    def __iter__(self) -> Iterator[Setting]:
        return iter(self.entries)


def _complete(each: Field[Any]) -> Setting:
    """The entry of a field, with what follows from its name, type and default."""
    kind: Any = each.type
    entry: Setting = each.metadata["setting"]
    default = each.default if each.default is not MISSING else each.default_factory  # not called: it may do I/O
    key = entry.key or each.name
    option = f"--{key.replace('_', '-')}" if entry.option is None else entry.option
    words = get_args(kind) if get_origin(kind) is Literal else ()
    if words:
        entry = replace(entry, parse=parse.choice(*words), allowed=f"{', '.join(words[:-1])} or {words[-1]}")
    return replace(
        entry,
        name=each.name,
        env=f"BULKID_{key.upper()}",
        kind=kind,
        default=default,
        key=key,
        option=option,
        commands=entry.commands or entry.group.commands,
        metavar=entry.metavar or "|".join(words) or _metavar(kind),
        default_text=_default_text(default) if entry.default_text is None else entry.default_text,
    )


def _metavar(kind: Any) -> str:  # noqa: ANN401 - a type
    plain = next((each for each in get_args(kind) if each is not type(None)), kind)  # X | None
    return {int: "N", float: "N", Path: "FILE"}.get(plain, "NAME")


def _default_text(default: object) -> str:
    if isinstance(default, float):
        return f"{default:g}"
    return str(default) if isinstance(default, str | int | Path) and not isinstance(default, bool) else ""
