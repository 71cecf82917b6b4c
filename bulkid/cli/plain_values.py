"""Parameters whose values need no conversion: the parser gives texts, lists of texts and counts as they are wanted.

Typer converts them all the same, by pydantic, which takes longer to import than all else that a command line needs.
Here pydantic is left to values that must be converted or may be refused. Typer's names for this are private: if a
release has others, it converts everything itself.
"""

from contextlib import suppress
from typing import Any

from typer.core import TyperCommand, TyperGroup


class PlainCommand(TyperCommand):
    """A command that takes plain values as they are."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - click's
        """Return its parameters."""
        return _with_plain_values(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """A group of commands whose own options take plain values as they are."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - click's
        """Return its parameters."""
        return _with_plain_values(super().get_params(ctx))


def _with_plain_values(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if hasattr(parameter, "get_runtime_param") and getattr(parameter, "_runtime_param", parameter) is None:
            parameter._runtime_param = _PlainValue(parameter)  # noqa: SLF001 - where typer keeps its own
    return parameters


class _PlainValue:
    """Stands for typer's own conversion of a parameter, which is made for the first value that is not plain."""

    def __init__(self, parameter: Any) -> None:  # noqa: ANN401 - typer's
        self._parameter = parameter

    def coerce(self, value: Any, *arguments: Any, **context: Any) -> Any:  # noqa: ANN401 - as typer's own
        """Return what typer makes of a value.

        Raises:
            BadParameter: Typer refuses it.
        """
        with suppress(AttributeError):  # a release of typer that has other names
            is_list = self._parameter.multiple or self._parameter.nargs == -1
            if value is None:
                return () if is_list else None
            if is_list and _are_texts(value, self._parameter.type_descriptor):
                return list(value)
            if not is_list and _is_plain(value, self._parameter.type_descriptor):
                return value
        return self._own().coerce(value, *arguments, **context)

    def _own(self) -> Any:  # noqa: ANN401 - typer's
        self._parameter._runtime_param = None  # noqa: SLF001 - then typer makes its own
        return self._parameter.get_runtime_param()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what else typer's own has
        return getattr(self._own(), name)


def _are_texts(values: Any, descriptor: Any) -> bool:  # noqa: ANN401 - what the parser gives, and typer's
    is_list = type(values) in {list, tuple} and descriptor.annotation == list[str]
    return is_list and descriptor.parameter_info.parser is None and all(type(each) is str for each in values)


def _is_plain(value: Any, descriptor: Any) -> bool:  # noqa: ANN401 - what the parser gives, and typer's
    kind, rules = descriptor.annotation, descriptor.parameter_info
    if type(value) is not kind or rules.parser is not None:
        return False
    if kind is str:
        return True
    within = (rules.min is None or value >= rules.min) and (rules.max is None or value <= rules.max)
    return kind is int and within and not rules.clamp
