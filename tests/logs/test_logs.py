"""Log lines: form, level, run id, no secrets."""

import ast
import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

import bulkid
from bulkid import logs, redaction

NOW = 1_769_846_400.25
log = structlog.get_logger()  # made before anything is configured, as the modules of bulkid do


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redaction, "_redactor", redaction.Redactor())
    monkeypatch.setattr(logs._output, "now", lambda: NOW)
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()
    logs.configure(format="json", verbosity=-1, stream=sys.stderr)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler).__module__ == "bulkid.logs"]:
        root.removeHandler(handler)


def start(form: logs.LogFormat = "json", verbosity: int = 2, run_id: str = "run-1") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(format=form, verbosity=verbosity, stream=stream)
    structlog.contextvars.bind_contextvars(run_id=run_id)
    return stream


def throw(error: Exception) -> None:
    raise error


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_has_time_level_event_and_run_in_front() -> None:
    stream = start()
    log.info("run.started", source="robots.xlsx", rows=3)
    (line,) = lines(stream)
    assert list(line.items()) == [
        ("timestamp", "2026-01-31T08:00:00.250Z"),
        ("level", "info"),
        ("event", "run.started"),
        ("run_id", "run-1"),
        ("source", "robots.xlsx"),
        ("rows", 3),
    ]


def test_console_lines_are_for_people_and_say_the_same() -> None:
    stream = start("console")
    log.warning("gate.closed", seconds=5)
    text = stream.getvalue()
    assert re.fullmatch(r"2026-01-31T08:00:00.250Z \[warning +\] gate.closed +run_id=run-1 seconds=5\n", text)


@pytest.mark.parametrize(
    ("verbosity", "levels"),
    [
        (-1, ["error", "critical"]),
        (0, ["warning", "error", "critical"]),
        (1, ["info", "warning", "error", "critical"]),
        (2, ["debug", "info", "warning", "error", "critical"]),
        (5, ["debug", "info", "warning", "error", "critical"]),
        (-3, ["error", "critical"]),
    ],
)
def test_verbosity_is_the_level_that_stands_now(verbosity: int, levels: list[str]) -> None:
    start(verbosity=2)
    log.debug("request.sent")
    stream = start(verbosity=verbosity)
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(log, level)("run.finished")
    assert [line["level"] for line in lines(stream)] == levels


def test_what_is_not_shown_is_not_looked_at() -> None:
    class Costly:
        def __repr__(self) -> str:
            raise AssertionError("was looked at")

    stream = start(verbosity=0)
    log.debug("request.sent", body=Costly())
    log.bind(body=Costly()).info("request.sent")
    assert stream.getvalue() == ""


def test_a_task_names_its_run_and_a_thread_of_no_run_names_none() -> None:
    stream = start(run_id="run-of-the-task")
    log.info("run.started")
    thread = threading.Thread(target=lambda: log.info("run.finished"))
    thread.start()
    thread.join()
    assert [line["run_id"] for line in lines(stream)] == ["run-of-the-task", ""]


def test_a_line_before_there_is_a_run_has_an_empty_one() -> None:
    stream = start(run_id="")
    log.info("sheet.read")
    assert lines(stream)[0]["run_id"] == ""


def test_own_keys_cannot_be_overwritten_by_data() -> None:
    stream = start()
    log.info("run.started", level="none", timestamp="never")
    assert (lines(stream)[0]["level"], lines(stream)[0]["timestamp"]) == ("info", "2026-01-31T08:00:00.250Z")


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_show_no_local_variable_and_no_secret(form: logs.LogFormat) -> None:
    stream = start(form)
    logs.register_secret("s3cr3t-of-the-message")

    def fails(argument: str) -> None:
        local = argument.upper()
        raise ValueError("refused: " + "s3cr3t-of-" + "the-message" + local[:0])

    try:
        fails("value-" + "of-a-local")
    except ValueError:
        log.exception("run.failed", step=1)
    text = stream.getvalue()
    assert "Traceback (most recent call last)" in text
    assert "ValueError: refused: [redacted]" in text
    assert "value-of-a-local" not in text.lower()
    assert "s3cr3t-of-the-message" not in text


def test_causes_and_notes_of_an_exception_are_cleaned_too() -> None:
    stream = start()
    logs.register_secret("the-cause-secret")
    error = RuntimeError("outer")
    error.__cause__ = KeyError("the-" + "cause-secret")
    error.add_note("tried Bearer " + "abc.def")
    try:
        throw(error)
    except RuntimeError as caught:
        log.error("run.failed", exc_info=caught, error=caught.__cause__)  # noqa: TRY400 - the exception is given
    text = stream.getvalue()
    assert "KeyError" in text
    assert "the-cause-secret" not in text
    assert "abc.def" not in text
    assert lines(stream)[0]["error"] == "KeyError: '[redacted]'"


@pytest.mark.parametrize("form", ["json", "console"])
def test_libraries_speak_through_the_same_way_out(form: logs.LogFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = start(form)
    logging.getLogger("aiohttp.client").warning("sent %s", "Authorization: Bearer abc.def")
    monkeypatch.setattr(logging.getLogger("aiohttp.client"), "level", logging.DEBUG)
    logging.getLogger("aiohttp.client").info("not at warning level")
    text = stream.getvalue()
    assert text.count("library.message") == 1
    assert "sent Authorization: [redacted]" in text
    assert "aiohttp.client" in text
    assert "run-1" in text
    assert "not at warning level" not in text


def test_a_librarys_level_and_exception_are_kept() -> None:
    stream = start()
    try:
        throw(OSError("Bearer " + "abc.def"))
    except OSError:
        logging.getLogger("asyncio").exception("Task failed")
    logging.getLogger("asyncio").critical("over")
    logging.getLogger("asyncio").log(35, "a level of its own")
    first, second, third = lines(stream)
    assert (first["level"], first["message"]) == ("error", "Task failed")
    assert "OSError: Bearer [redacted]" in first["exception"]
    assert second["level"] == "critical"
    assert third["level"] == "warning"


def test_a_librarys_broken_format_does_not_get_out_unredacted(capsys: pytest.CaptureFixture[str]) -> None:
    stream = start()
    logs.register_secret("s3cr3t-argument")
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "count %d", ("s3cr3t-argument",), None)
    (handler,) = [handler for handler in logging.getLogger().handlers if type(handler).__module__ == "bulkid.logs"]
    handler.handle(record)
    assert lines(stream)[0]["message"] == "count %d ('[redacted]',)"
    assert capsys.readouterr().err == ""


def test_quiet_quietens_libraries_and_configuring_twice_does_not_double_them() -> None:
    start(verbosity=2)
    stream = start(verbosity=-1)
    logging.getLogger("x").warning("hm")
    logging.getLogger("x").error("oh")
    assert [line["message"] for line in lines(stream)] == ["oh"]


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


class Narrow(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="cp1252")


def test_a_log_that_cannot_be_written_ends_no_run() -> None:
    for stream in (Broken(), io.StringIO()):
        logs.configure(format="json", verbosity=2, stream=stream)
        stream.close()
        log.error("run.failed")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_terminal_with_few_letters_shows_the_others_escaped(form: logs.LogFormat) -> None:
    stream = Narrow()
    logs.configure(format=form, verbosity=2, stream=stream)
    log.info("run.started", source="営業.xlsx")
    stream.seek(0)
    assert "\\u55b6\\u696d.xlsx" in stream.read()


def test_control_characters_do_not_reach_the_terminal() -> None:
    stream = start("console")
    log.error("request.failed", error="a\x1b[2Jb\x9b\r\nc\u202ed", **{"k\x1b": 1})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert not {"\x1b", "\x9b", "\r", "\u202e"} & set(text)
    assert "a\\x1b[2Jb\\x9b\\x0d\\nc\\u202ed" in text.replace("\\\\", "\\")


def test_no_colours_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for no_color, coloured in ((None, sys.platform != "win32"), ("1", False)):
        monkeypatch.delenv("NO_COLOR", raising=False)
        if no_color:
            monkeypatch.setenv("NO_COLOR", no_color)
        stream = Terminal()
        logs.configure(format="console", verbosity=2, stream=stream)
        log.info("run.started")
        assert ("\x1b[" in stream.getvalue()) is coloured
    assert "\x1b[" not in start("console").getvalue()


def test_an_object_that_breaks_everything_costs_its_line_only() -> None:
    class Broken(dict[str, object]):
        def items(self) -> Any:
            raise RuntimeError("no items")

    stream = start()
    log.info("run.started", what=Broken(a=1))
    log.info("run.finished")
    assert [line["event"] for line in lines(stream)] == ["log.unprintable", "run.finished"]


SECRETS = st.text(st.sampled_from("abcXYZ0189-._~+/=&%\"'\\ é"), min_size=8, max_size=24).map(lambda text: f"Zq{text}9")


@st.composite
def events(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An event with one secret in a random place."""
    secret = draw(SECRETS)
    leaf: Any = draw(
        st.sampled_from([secret, f"Bearer {secret}", secret.encode(), ValueError(secret), [secret], f"x={secret}&"])
    )
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.integers(0, 5))
        leaf = [leaf, [1, leaf], (leaf,), {"key": leaf}, {"Authorization": leaf}, ("cookie", leaf)][kind]
    return secret, draw(
        st.sampled_from([{"data": leaf}, {"token": leaf}, {"headers": {"x": leaf}}, {f"k{secret}": 1, "v": leaf}])
    )


@pytest.mark.parametrize("form", ["json", "console"])
@settings(max_examples=120, deadline=None)
@given(event=events(), in_name=st.booleans(), bound=st.booleans(), raised=st.booleans())
def test_a_secret_in_any_place_of_an_event_never_leaves(
    form: logs.LogFormat, event: tuple[str, dict[str, Any]], *, in_name: bool, bound: bool, raised: bool
) -> None:
    secret, fields = event
    stream = start(form)
    logs.register_secret(secret)
    name = f"run.{secret}" if in_name else "run.failed"
    logger = log.bind(**fields) if bound else log
    if raised:
        try:
            throw(RuntimeError(secret, fields))
        except RuntimeError:
            logger.exception(name, **({} if bound else fields))
    else:
        logger.info(name, **({} if bound else fields))
    text = stream.getvalue()
    assert text.count("run.") >= 1
    for form_of_it in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], repr(secret.encode())[2:-1]):
        assert form_of_it not in text


def test_error_messages_can_be_cleaned_by_the_same_rules() -> None:
    logs.register_secret("a-client-secret")
    assert (
        logs.redact_text("refused: a-client-secret at https://u:p@host")
        == "refused: [redacted] at https://[redacted]@host"
    )


# --- the list of events


def logged(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, level and name of each event that a module logs."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        owner, first = node.func.value, node.args[0]
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        if name.strip("_") in {"log", "logger"} and isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield node.lineno, {"exception": "error"}.get(node.func.attr, node.func.attr), first.value


def test_the_list_of_events_and_what_is_logged_are_the_same() -> None:
    root = Path(bulkid.__file__).parent
    found = [
        (f"{path.relative_to(root)}:{line}", level, name)
        for path in sorted(root.rglob("*.py"))
        for line, level, name in logged(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert [stray for stray in found if logs.EVENTS.get(stray[2]) != stray[1]] == []
    own = {"library.message", "log.unprintable"}  # made by the logs themselves, as the tests above show
    assert set(logs.EVENTS) == own | {name for _, _, name in found}


def test_event_names_are_dotted_words_and_levels_are_levels() -> None:
    assert [name for name in logs.EVENTS if not re.fullmatch(r"[a-z]+\.[a-z_]+", name)] == []
    assert set(logs.EVENTS.values()) <= {"debug", "info", "warning", "error", "critical"}
