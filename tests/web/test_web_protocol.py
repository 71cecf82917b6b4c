"""Requests that HTTP or the console does not understand, and bodies that come too slowly."""

import asyncio
import logging
from contextlib import nullcontext
from pathlib import Path

import anyio
import pytest
from aiohttp.multipart import BodyPartReader, MultipartReader
from multidict import CIMultiDict

from bulkid import runs
from bulkid.journal.console_store import ConsoleStore
from bulkid.web import request_bodies
from bulkid.web.auth.access import RefusedError, Role
from bulkid.web.auth.users import issue_token
from bulkid.web.middleware import HEADERS
from bulkid.web.request_bodies import UploadReader, is_text
from tests.support.postgres_server import shared_server
from tests.support.web_console import LONGEST_S, World, cookie_of, raw, run_id_of, sheet, world
from tests.support.web_programs import ADA, Program
from tests.support.web_users import HASH, PASSWORD, sign_in

UNREADABLE = {
    "address of other bytes": [b"GET /enter?key=s3cret&x=\xff HTTP/1.1"],
    "address that is too long": [b"GET /enter?key=s3cret&x=" + b"a" * 9000 + b" HTTP/1.1"],
    "header that is too long": [b"GET / HTTP/1.1", b"X-Long: s3cret" + b"a" * 9000],
    "header without a colon": [b"GET / HTTP/1.1", b"s3cret"],
    "other version": [b"GET /enter?key=s3cret HTTP/9.x"],
    "unknown expectation": [b"GET / HTTP/1.1", b"Expect: s3cret"],
    "expectation of other bytes": [b"GET /nowhere HTTP/1.1", b"Expect: \xff"],
}


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_a_request_that_is_no_http_gets_an_answer_like_any_other_and_no_traceback_is_logged(
    console: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        status, answer = await raw(console, UNREADABLE[kind])
    assert 400 <= status < 500, answer
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = CIMultiDict(line.split(": ", 1) for line in head.decode().splitlines()[1:])
    assert {name: headers[name] for name in HEADERS} == dict(HEADERS)
    assert b"aiohttp" not in head
    assert b"s3cret" not in body
    assert not [record for record in caplog.records if record.exc_info]
    assert "s3cret" not in caplog.text


# --- texts


@pytest.mark.parametrize(
    "good",
    ["Zürich", "👩\u200d💻", "\u200fأحمد", "می\u200cخواهم", "山田\u3000太郎", "a\u00a0b", "a\tb", "50%", ""],  # noqa: RUF001 - other scripts
)
def test_names_of_all_scripts_are_texts(good: str) -> None:
    assert is_text(good)


@pytest.mark.parametrize("invalid", ["a\0b", "\x1b[31m", "a\r\nb", "\udcff", "\x85"])
def test_control_characters_and_bytes_of_no_utf_8_are_none(invalid: str) -> None:
    assert not is_text(invalid)


async def test_a_search_takes_names_of_all_scripts_and_refuses_what_is_no_text(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2, prefix="Zürich 👩\u200d💻 \u200fأحمد"))
    await console.browser.preview_page(path)
    upload = path.rsplit("/", 1)[-1]
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    token = issue_token(console.console.store, "test", Role.ADMIN, ADA, 0.0).encode()
    for search in ("Zürich", "👩\u200d💻", "\u200fأحمد"):
        for where in (f"/sheets/{upload}/preview", f"/sheets/{upload}", f"/runs/{run_id}"):
            page = await console.browser.get(where, params={"search": search})
            assert page.status == 200
        assert "Zürich" in page.text
    for where in (
        f"/sheets/{upload}/preview",
        f"/sheets/{upload}",
        f"/runs/{run_id}",
        "/runs",
        "/audit",
        "/api/v1/runs",
    ):
        for query, expected in (
            (b"search=%ff", 200),  # is read as U+FFFD
            (b"show=%fe%ff", 200),
            (b"%ff=1", 200),
            (b"page=%00", 400),
            (b"column=a%0d%0aX:%20y", 400),
            (b"search=\xff", 400),
        ):
            head = [b"GET %s?%s HTTP/1.1" % (where.encode(), query), cookie_of(console.browser)]
            status, answer = await raw(console, [*head, b"Authorization: Bearer " + token])
            assert status == expected, (where, query, answer)


async def test_no_text_with_u_0000_reaches_a_database_that_refuses_it(tmp_path: Path) -> None:
    with shared_server().database() as url:
        with runs.RunBrowser(tmp_path / "state", url) as run_browser:
            ConsoleStore(run_browser.journal).add_user("ada", "admin", HASH, 0.0)
        async with world(tmp_path, database_url=url) as console:
            assert (await sign_in(console.browser, "ada\0")).status == 400
            assert (await sign_in(console.browser, "ada")).status == 200
            form = {"name": "a\0b", "role": "viewer", "current": PASSWORD}
            assert (await console.browser.post("/tokens", form)).status == 400
            assert (await console.browser.get("/runs/a%00b")).status == 400
            program = Program(console)
            _, made = await program.upload(sheet(1))
            status, _ = await program.ask("PATCH", f"/sheets/{made['sheet']}", json={"map": {"a\0b": "name"}})
            assert status == 400


# --- slow and broken bodies


async def begun_upload(console: World, where: str, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which an upload has begun with these bytes of its body."""
    token = issue_token(console.console.store, "test", Role.ADMIN, ADA, 0.0)
    start = b'--x\r\nContent-Disposition: form-data; name="sheet"; filename="a.csv"\r\n\r\n'
    port = console.console.serve.port
    head = [
        b"POST %s HTTP/1.1" % where.encode(),
        b"Host: 127.0.0.1:%d" % port,
        b"Origin: http://127.0.0.1:%d" % port,
        cookie_of(console.browser),
        b"X-CSRF-Token: " + console.browser.csrf.encode(),
        b"Authorization: Bearer " + token.encode(),
        b"Content-Type: multipart/form-data; boundary=x",
        b"Content-Length: 100000",
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\r\n".join(head) + b"\r\n\r\n" + sent.replace(b"%START%", start))
    return reader, writer


@pytest.mark.parametrize("where", ["/sheets", "/api/v1/sheets"])
@pytest.mark.parametrize("sent", [b"", b"--x\r\n", b"%START%", b"%START%name,display_name\n" + b"a,b\n" * 40])
async def test_an_upload_that_comes_too_slowly_is_refused_and_not_kept(
    console: World, monkeypatch: pytest.MonkeyPatch, where: str, sent: bytes
) -> None:
    monkeypatch.setattr(request_bodies, "BODY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(request_bodies, "MIN_BYTES_PER_S", 1e6)
    reader, writer = await begun_upload(console, where, sent)
    assert b"HTTP/1.1 408" in await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    folder = console.console.state_dir / "uploads"
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("where", ["/sheets", "/api/v1/sheets"])
@pytest.mark.parametrize("sent", [b"", b"--x\r\n", b"%START%name,display_name\n" + b"a,b\n" * 40])
async def test_an_upload_whose_client_leaves_is_refused_and_no_defect_of_the_console(
    console: World, caplog: pytest.LogCaptureFixture, where: str, sent: bytes
) -> None:
    store = console.console.store
    with caplog.at_level(logging.INFO), anyio.fail_after(LONGEST_S):
        _, writer = await begun_upload(console, where, sent)
        await writer.drain()
        writer.close()
        while store.audit_page(0, 1)[0][0].action != "upload refused":  # noqa: ASYNC110 - the server's own task
            await anyio.sleep(0.02)
    assert "broke off" in store.audit_page(0, 1)[0][0].detail
    assert "console.request_broke" not in caplog.text
    folder = console.console.state_dir / "uploads"
    assert not folder.exists() or not list(folder.iterdir())


class SlowPart(BodyPartReader):
    """A part of which so many bytes come after so many seconds."""

    def __init__(self, chunks: list[tuple[float, int]]) -> None:
        self.chunks, self.now = chunks, 0.0

    async def read_chunk(self, size: int = 0) -> bytes:
        """The next bytes, later."""
        seconds, count = self.chunks.pop(0)
        self.now += seconds
        return b"x" * min(size, count)


@pytest.mark.parametrize(
    ("chunks", "whole"),
    [
        ([(29, 1), (29, 100_000), (150, 100_000), (29, 0)], True),
        ([(20, 5000), (19, 5000), (20, 100), (0, 0)], False),
        ([(29, 1)] * 3, False),  # a byte now and then
    ],
)
async def test_every_byte_gives_an_upload_a_little_more_time(chunks: list[tuple[float, int]], whole: bool) -> None:
    part, body = SlowPart([*chunks]), CIMultiDict({"Content-Type": "multipart/form-data; boundary=x"})
    reader = UploadReader(MultipartReader(body, None), lambda: part.now)  # type: ignore[arg-type]  # it is not read
    with nullcontext() if whole else pytest.raises(RefusedError, match="too long"):
        while await reader.chunk(part, 1 << 20):
            pass
