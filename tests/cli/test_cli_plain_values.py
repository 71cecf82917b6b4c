"""Plain values: a command gets just what typer would make of its arguments, without pydantic."""

import copy
from typing import Annotated, Any

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from bulkid.cli import app as declared
from bulkid.cli.plain_values import PlainCommand, PlainGroup, _PlainValue

app = typer.Typer(cls=PlainGroup, add_completion=False, rich_markup_mode=None)


@app.callback()
def _global(state_dir: Annotated[str | None, typer.Option()] = None) -> None:
    """Nothing."""


@app.command("go", cls=PlainCommand)
def _go(  # noqa: PLR0917 - parameters of all kinds that bulkid has
    source: Annotated[str, typer.Argument()],
    more: Annotated[list[str] | None, typer.Argument()] = None,
    text: Annotated[str | None, typer.Option()] = None,
    filled: Annotated[str, typer.Option()] = "as it was",
    each: Annotated[list[str] | None, typer.Option()] = None,
    switch: Annotated[bool, typer.Option("--switch")] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True)] = 0,
    loud: Annotated[int, typer.Option("--loud", "-l", count=True, max=2)] = 0,
    limit: Annotated[int, typer.Option(min=1, max=30)] = 20,
    clamped: Annotated[int, typer.Option(min=1, max=30, clamp=True)] = 40,
    seconds: Annotated[float, typer.Option(min=0)] = 1.5,
    parsed: Annotated[str, typer.Option(parser=str.upper)] = "low",
    from_variable: Annotated[str | None, typer.Option(envvar="PLAIN_TEXT")] = None,
    all_from_variable: Annotated[list[str] | None, typer.Option(envvar="PLAIN_TEXTS")] = None,
) -> None:
    """Nothing."""


def parsed(arguments: list[str], *, by_typer: bool) -> tuple[str, Any]:
    """What the parameters of the command become, or the message of what is refused."""
    group: Any = typer.main.get_command(app)
    if by_typer:
        for command in (group, *group.commands.values()):
            command.get_params = super(type(command), command).get_params
    try:
        with group.make_context("bulkid", [], resilient_parsing=False) as outer:
            command = group.commands["go"]
            inner = command.make_context("go", list(arguments), parent=outer)
    except Exception as error:  # noqa: BLE001 - typer has no public name of its errors
        return type(error).__name__, getattr(error, "message", str(error))
    kinds = {name: (type(value), value) for name, value in inner.params.items()}
    return "", (kinds, inner.args, {name: inner.get_parameter_source(name).name for name in kinds})


TEXTS = st.sampled_from(
    ["", " ", "x", "-", "--", "0", "7", "31", "1e3", "True", "\udcff.csv", "\ud800", "北京", "a\x00b"]
) | st.text(max_size=4)
OPTIONS = st.sampled_from(["--text", "--filled", "--each", "--limit", "--clamped", "--seconds", "--parsed", "--nope"])
ARGUMENTS = st.lists(
    st.one_of(
        TEXTS.map(lambda text: [text]),
        st.tuples(OPTIONS, TEXTS).map(list),
        st.tuples(OPTIONS, TEXTS).map(lambda pair: ["=".join(pair)]),
        OPTIONS.map(lambda option: [option]),
        st.sampled_from([["-v"], ["-vv"], ["-lll"], ["--verbose"], ["--switch"], ["--switch=1"], ["-v=2"], ["-h"]]),
    ),
    max_size=6,
).map(lambda parts: [each for part in parts for each in part])


@given(arguments=ARGUMENTS, variables=st.tuples(st.none() | TEXTS, st.none() | TEXTS))
@example(arguments=["s.csv", "-vv", "--each", "", "--each", "b"], variables=("", "a b"))
@example(arguments=["s.csv", "-lll"], variables=(None, None))
@example(arguments=["s.csv", "--limit", "0"], variables=(None, None))
@example(arguments=["\udcff.csv", "--text="], variables=("\udcff", "\udcff \udcfe"))
@example(arguments=[], variables=(None, None))
def test_every_value_and_every_refusal_is_that_of_typer(
    arguments: list[str], variables: tuple[str | None, str | None]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(("PLAIN_TEXT", "PLAIN_TEXTS"), variables, strict=True):
            if value is None or "\x00" in value or "\ud800" in value:  # what no environment holds
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        assert parsed(arguments, by_typer=False) == parsed(arguments, by_typer=True)


@given(
    name=st.sampled_from([each.name for each in typer.main.get_command(app).commands["go"].params]),  # type: ignore[attr-defined]
    value=st.none()
    | TEXTS
    | st.integers(-2, 41)
    | st.booleans()
    | st.floats()
    | st.binary(max_size=3)
    | st.lists(TEXTS | st.integers(), max_size=3)
    | st.lists(TEXTS, max_size=3).map(tuple),
)
def test_any_object_becomes_what_typer_makes_of_it(name: str, value: object) -> None:
    command: Any = typer.main.get_command(app).commands["go"]  # type: ignore[attr-defined]
    [parameter] = [each for each in command.params if each.name == name]
    context = typer.Context(command)
    found = []
    for runtime in (_PlainValue(parameter), copy.copy(parameter).get_runtime_param()):
        try:
            made = runtime.coerce(value, param=parameter, ctx=context)
            found.append(repr((type(made), made)))
        except (typer.BadParameter, TypeError) as error:  # (a parser need not take what is no text)
            found.append(str(error))
    assert found[0] == found[1]


def test_the_parameters_of_all_commands_are_of_these_kinds() -> None:
    """So that the laws above speak about bulkid's own; a choice among words is typer's to check."""
    root: Any = typer.main.get_command(declared.app)
    inner = [command for each in root.commands.values() for command in (each, *getattr(each, "commands", {}).values())]
    kinds = {str(parameter.type_descriptor.annotation) for command in (root, *inner) for parameter in command.params}
    known = {str, bool, int, float, list[str]}
    assert {kind for kind in kinds if kind not in set(map(str, known))} <= {
        "typing.Literal['names', 'ids']",
        "<enum 'Action'>",
    }


def test_another_typer_without_these_names_converts_everything_itself() -> None:
    class Other:
        """A parameter of a release that has other names."""

    assert PlainCommand("x", params=[]).get_params(typer.Context(PlainCommand("x"))) != []
    parameter: Any = Other()
    parameter._runtime_param = None
    parameter.get_runtime_param = lambda: parameter
    parameter.coerce = lambda value, **_: f"typer's {value}"
    assert _PlainValue(parameter).coerce("value", param=parameter, ctx=None) == "typer's value"
    parameter.described = "by typer"
    assert _PlainValue(parameter).described == "by typer"


@pytest.mark.parametrize("name", [str(each.name) for each in declared.app.registered_commands])
def test_a_command_alone_is_the_command_among_all(name: str) -> None:
    alone: Any = typer.main.get_command(declared.app_for([name]))
    assert declared.app_for(["--state-dir", "run", name]) is declared.app_for([name])
    among_all: Any = typer.main.get_command(declared.app)
    assert list(alone.commands) == [name]
    assert [each.opts for each in alone.params] == [each.opts for each in among_all.params]
    pages = []
    for root in (alone, among_all):
        with root.make_context("bulkid", [name], resilient_parsing=True) as outer:
            pages.append(
                root.commands[name].get_help(root.commands[name].context_class(root.commands[name], parent=outer))
            )
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    "arguments", [["users"], ["rum"], ["-v"], ["--state-dir=run", "run"], ["--state-dir", "run", "x"]]
)
def test_what_names_no_command_gets_all_of_them(arguments: list[str]) -> None:
    assert declared.app_for(arguments) is declared.app


@pytest.mark.parametrize(
    "arguments", [[], [""], ["--help"], ["-h"], ["-h", "run"], ["--version"], ["--version", "run"]]
)
def test_a_list_of_the_commands_is_the_same_without_their_options(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for some in (declared.app_for(arguments), declared.app):
        with pytest.raises(SystemExit) as end:
            some(prog_name="bulkid", args=arguments)
        shown.append((end.value.code, capsys.readouterr()))
    assert shown[0] == shown[1]
    assert shown[0][0] == (0 if {"-h", "--help", "--version"} & set(arguments) else 2)
