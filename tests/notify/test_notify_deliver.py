"""Services on real sockets that take a message, refuse it, are not there or never answer."""

import asyncio
import base64
import io
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bulkid import logs
from bulkid.clock import SystemClock
from bulkid.engine.signals import Stop
from bulkid.notify.deliver import STOPPED_TIMEOUT_S, TIMEOUT_S, FailedNotification, deliver, unusable
from bulkid.notify.message import Message
from bulkid.notify.recipients import Recipients
from tests.support.fake_clock import FakeClock, run
from tests.support.receiver import closed_port, receiver

MESSAGE = Message("bulkid: a title", "The body,\nin two lines: <b> & Ümläut.", 0)


async def reported(*addresses: str, message: Message = MESSAGE) -> list[FailedNotification]:
    return await deliver(message, Recipients(always=addresses), clock=SystemClock())


async def test_a_service_gets_title_and_body_as_they_are() -> None:
    with receiver() as service:
        assert await reported(service.address("a/b")) == []
    (message,) = service.messages
    assert (message["title"], message["message"], message["type"]) == (MESSAGE.title, MESSAGE.body, "success")
    assert service.paths == ["/a/b"]


async def test_a_service_that_shows_html_gets_lines_and_no_tags() -> None:
    """Mail is one: without it all lines run into one, and a name may be a link."""
    with receiver() as service:
        assert await reported(f"{service.address()}?format=html") == []
    shown = service.messages[0]["message"].replace("&nbsp;", " ")
    assert shown.startswith("The body,<br")
    assert "in two lines: &lt;b&gt; &amp; " in shown


@pytest.mark.parametrize(("exit_code", "kind"), [(0, "success"), (1, "warning"), (2, "failure"), (5, "failure")])
async def test_a_service_is_reported_how_grave_it_is(exit_code: int, kind: str) -> None:
    with receiver() as service:
        await reported(service.address(), message=Message("t", "b", exit_code))
    assert service.messages[0]["type"] == kind


async def test_the_report_goes_along_whatever_its_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "what? a & b#c%20d"
    folder.mkdir()
    (folder / "report.csv").write_bytes(b"row,status\r\n2,updated\r\n")
    with receiver() as service:
        message = Message("t", "b", 0, (folder / "report.csv",))
        assert await reported(service.address(), message=message) == []
    (attached,) = service.messages[0]["attachments"]
    assert attached["filename"] == "report.csv"
    assert base64.b64decode(attached["base64"]) == b"row,status\r\n2,updated\r\n"


async def test_one_who_cannot_be_reported_keeps_no_user_else_from_being_reported() -> None:
    with receiver() as good, receiver(status=500) as invalid:
        gone = f"json://127.0.0.1:{closed_port()}/hook"
        failed = await reported(invalid.address(), gone, "nonsense://x", "no address", good.address())
        assert len(good.messages) == len(invalid.messages) == 1
    assert [each.recipient.number for each in failed] == [1, 2, 3, 4]
    reasons = [each.reason for each in failed]
    assert "500" in reasons[0]
    assert "onnection error" in reasons[1]
    assert "no service takes this address" in reasons[2]
    assert "no address of a service" in reasons[3]


# --- a service that never answers


async def wait_on(clock: FakeClock, who: Recipients, stop: Stop) -> list[FailedNotification]:
    """Deliver on the fake clock; the ticking has it look now and then whether the threads have come so far."""

    async def tick() -> None:
        while True:  # noqa: ASYNC110 - it is real time that passes, which has no event
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    limits = ((stop.wait, STOPPED_TIMEOUT_S), (stop.wait_aborted, 1.0))
    failed = await deliver(MESSAGE, who, clock=clock, limits=limits)
    ticking.cancel()
    return failed


def assert_not_reported(failed: list[FailedNotification]) -> None:
    assert [each.reason for each in failed] == ["no answer in time"]


@pytest.mark.parametrize(("asked", "seconds"), [(0, TIMEOUT_S), (1, STOPPED_TIMEOUT_S), (2, 1.0)])
def test_a_service_that_never_answers_is_waited_for_and_less_long_when_anyone_wants_to_stop(
    asked: int, seconds: float
) -> None:
    with receiver(hang=True) as service:
        clock = FakeClock(busy=lambda: not service.came.is_set())

        async def work() -> list[FailedNotification]:
            stop = Stop()
            if asked:
                stop.request("SIGTERM")
            if asked > 1:
                stop.abort()
            return await wait_on(clock, Recipients(always=(service.address(),)), stop)

        assert_not_reported(run(work))
        assert clock.elapsed == seconds


def test_who_answers_is_reported_beside_one_who_does_not() -> None:
    with receiver(hang=True) as silent, receiver() as good:
        others = set(threading.enumerate())  # of earlier tests

        def busy() -> bool:
            at_work = [each for each in threading.enumerate() if each.name == "notify" and each not in others]
            return not silent.came.is_set() or len(at_work) > 1

        clock = FakeClock(busy=busy)

        async def work() -> list[FailedNotification]:
            return await wait_on(clock, Recipients(failure=(silent.address(),), always=(good.address(),)), Stop())

        failed = run(work)
        assert_not_reported(failed)
        assert str(failed[0].recipient) == "failure, address 1 (json://...)"
        assert len(good.messages) == 1


# --- secrets


@pytest.mark.parametrize("trouble", ["refuses", "away", "unknown"])
async def test_no_address_is_logged_or_shown_whatever_goes_wrong(trouble: str) -> None:
    secrets = ("pass-word-1", "tok-en-in-path", "key-in-query")
    stream = io.StringIO()
    logs.configure(format="json", verbosity=2, stream=stream)
    with receiver(status=403) as service:
        address = service.address(f"{secrets[1]}?k={secrets[2]}", user=f"me:{secrets[0]}")
        if trouble == "away":
            address = address.replace(str(service.port), str(closed_port()))
        if trouble == "unknown":
            address = address.replace("json:", "jsonx:")
        (failed,) = await reported(address)
    said = stream.getvalue() + str(failed) + repr(failed)
    assert '"notify.failed"' in said
    assert [secret for secret in secrets if secret in said] == []


async def test_what_a_program_logs_through_the_same_library_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    with receiver(status=500) as service:
        await reported(service.address())
    logging.getLogger("apprise").warning("somebody else's")
    assert [record.getMessage() for record in caplog.records if record.name == "apprise"] == ["somebody else's"]


# --- looking without sending


def test_an_address_that_no_service_takes_is_found_without_sending() -> None:
    with receiver() as service:
        found = unusable(Recipients(success=(service.address(), "slack://too-short"), failure=("nonsense://x",)))
        assert service.messages == []
    assert [str(each.recipient) for each in found] == [
        "success, address 2 (slack://...)",
        "failure, address 1 (nonsense://...)",
    ]


def test_the_library_is_loaded_only_when_there_is_anyone_to_tell() -> None:
    script = "import sys, bulkid.cli.commands; print('apprise' in sys.modules, 'prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
