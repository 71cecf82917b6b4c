"""Requests that no browser sends: each gets a 4xx answer, and the console serves on."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from bulkid.web.auth.access import Role
from bulkid.web.auth.users import issue_token
from tests.support.web_console import World, cookie_of, raw
from tests.support.web_programs import ADA
from tests.support.web_users import sign_in, team

JUNK: dict[str, tuple[list[bytes], bytes]] = {
    "token of other bytes": ([b"GET /api/v1/runs HTTP/1.1", b"Authorization: Bearer bulkid_\xff"], b""),
    "scheme alone": ([b"GET /api/v1/runs HTTP/1.1", b"Authorization: Bearer"], b""),
    "origin without an end": ([b"POST /signin HTTP/1.1", b"Origin: http://["], b""),
    "origin of other bytes": ([b"POST /signin HTTP/1.1", b"Origin: http://\xff\xfe"], b""),
    "origin with a port of words": ([b"POST /signin HTTP/1.1", b"Origin: http://127.0.0.1:port"], b""),
    "form of other bytes": (
        [b"POST /signin HTTP/1.1", b"Origin: %ORIGIN%", b"Content-Type: application/x-www-form-urlencoded"],
        b"name=\xff\xfe&password=%ff%fe",
    ),
    "form in rot13": (
        [
            b"POST /signin HTTP/1.1",
            b"Origin: %ORIGIN%",
            b"Content-Type: application/x-www-form-urlencoded; charset=rot13",
        ],
        b"name=a&password=b",
    ),
    "form in hex": (
        [
            b"POST /signin HTTP/1.1",
            b"Origin: %ORIGIN%",
            b"Content-Type: application/x-www-form-urlencoded; charset=hex",
        ],
        b"name=a&password=b",
    ),
    "form in no charset there is": (
        [
            b"POST /signin HTTP/1.1",
            b"Origin: %ORIGIN%",
            b"Content-Type: application/x-www-form-urlencoded; charset=\xff",
        ],
        b"name=a&password=b",
    ),
    "form in utf-7": (
        [
            b"POST /signin HTTP/1.1",
            b"Origin: %ORIGIN%",
            b"Content-Type: application/x-www-form-urlencoded; charset=utf-7",
        ],
        b"name=+AGE-&password=b",
    ),
    "multipart that is none": (
        [b"POST /signin HTTP/1.1", b"Origin: %ORIGIN%", b"Content-Type: multipart/form-data; boundary=x"],
        b"junk",
    ),
    "multipart without a boundary": (
        [b"POST /signin HTTP/1.1", b"Origin: %ORIGIN%", b"Content-Type: multipart/form-data"],
        b"junk",
    ),
    "multipart cut short": (
        [b"POST /signin HTTP/1.1", b"Origin: %ORIGIN%", b"Content-Type: multipart/form-data; boundary=x"],
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nbob',
    ),
    "upload without a session": (
        [b"POST /sheets HTTP/1.1", b"Origin: %ORIGIN%", b"Content-Type: multipart/form-data; boundary=x"],
        b"junk",
    ),
    "content type of other bytes": ([b"POST /signin HTTP/1.1", b"Origin: %ORIGIN%", b"Content-Type: \xff/\xff"], b"x"),
    "compressed junk": (
        [
            b"POST /signin HTTP/1.1",
            b"Origin: %ORIGIN%",
            b"Content-Encoding: gzip",
            b"Content-Type: application/x-www-form-urlencoded",
        ],
        b"junk",
    ),
    "cookie of junk": ([b"GET / HTTP/1.1", b"Cookie: %COOKIE%=\xff\xfe\x01"], b""),
    "cookie of text": ([b"GET / HTTP/1.1", b'Cookie: %COOKIE%="; \\"; ={}'], b""),
    "cookie of a token": ([b"GET / HTTP/1.1", b"Cookie: %COOKIE%=gAAAAABjunk"], b""),
    "query of other bytes": ([b"GET /enter?key=%ff%fe&key=\xff HTTP/1.1"], b""),
    "path of other bytes": ([b"GET /%ff%fe/\xff HTTP/1.1"], b""),
    "path of a lone surrogate": ([b"GET /runs/%ed%a0%80 HTTP/1.1"], b""),
    "static path of other bytes": ([b"GET /static/%ff%00 HTTP/1.1"], b""),
    "host with other bytes": ([b"GET / HTTP/1.1", b"X-Forwarded-For: \xff", b"Host: \xff"], b""),
    "api body of other bytes": (
        [b"POST /api/v1/sheets/x/reading HTTP/1.1", b"Content-Type: application/json; charset=rot13"],
        b"{}",
    ),
}


def filled(lines: Sequence[bytes], console: World) -> list[bytes]:
    """The lines with this console's own origin and cookie name."""
    port = console.console.serve.port
    return [
        line.replace(b"%ORIGIN%", b"http://127.0.0.1:%d" % port).replace(b"%COOKIE%", b"bulkid-%d" % port)
        for line in lines
    ]


async def refuses(console: World, kind: str, head: Sequence[bytes], body: bytes, at_least: int = 400) -> None:
    """Send one piece of junk: it is refused for what it is, not for coming too often, and the console serves on."""
    status, answer = await raw(console, filled(head, console), body)
    assert at_least <= status < 500, (kind, answer)
    assert status != 429, (kind, answer)
    assert (await console.browser.get("/static/console.css")).status == 200, kind


async def test_junk_is_refused_where_one_person_uses_the_console(console: World) -> None:
    for kind, (head, body) in JUNK.items():
        await refuses(console, kind, head, body)


async def test_junk_is_refused_where_a_team_signs_in(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        for kind, (head, body) in JUNK.items():
            await refuses(console, kind, head, body)


FORMS: dict[str, tuple[list[bytes], bytes]] = {
    kind: (head[1:], body) for kind, (head, body) in JUNK.items() if b"POST /signin" in head[0]
}


@pytest.mark.parametrize("path", ["/sheets", "/tokens", "/signout", "/status"])
async def test_junk_of_a_user_who_is_signed_in_is_refused(tmp_path: Path, path: str) -> None:
    async with team(tmp_path) as console:
        for kind, (head, body) in FORMS.items():
            assert (await sign_in(console.browser, "ada")).status == 200
            post = [b"POST %s HTTP/1.1" % path.encode(), cookie_of(console.browser), *head]
            await refuses(console, kind, post, body)
            post.insert(1, b"X-CSRF-Token: " + console.browser.csrf.encode())
            await refuses(console, kind, post, body, at_least=300)  # signing out needs no body


@pytest.mark.parametrize("path", ["/sheets", "/sheets/0123456789abcdef/reading", "/runs/20260101-000000-aaaa/resume"])
async def test_junk_of_a_program_with_a_token_is_refused(console: World, path: str) -> None:
    token = issue_token(console.console.store, "test", Role.ADMIN, ADA, 0.0)
    for kind, (head, body) in FORMS.items():
        post = [b"POST /api/v1%s HTTP/1.1" % path.encode(), b"Authorization: Bearer " + token.encode(), *head]
        await refuses(console, kind, post, body)


SHEET = b'Content-Disposition: form-data; name="sheet"; filename="a.csv"\r\n\r\nname\r\nrobot-0001\r\n--x--\r\n'
MALFORMED_PARTS = {
    "name with semicolons and control characters": b'form-data; name="\xc2\xb7;g\xc3\x98\xc2\xb7;FP\xc2\x8a\xc2\x9bD+"',
    "two names": b'form-data; name="a"; name="b"',
    "no parameter": b"form-data; sheet",
    "name of other bytes": b"form-data; name*=utf-8''%ff",
    "no name": b"form-data",
    "file name that does not end": b'form-data; name="sheet"; filename="a;b;c.csv',
    "character set that is too long": b'form-data; name="_charset_"',
}


async def upload_of(console: World, disposition: bytes) -> tuple[int, bytes]:
    """The answer to a program that sends a part with this Content-Disposition, and then a sheet."""
    token = issue_token(console.console.store, "test", Role.ADMIN, ADA, 0.0)
    head = [
        b"POST /api/v1/sheets HTTP/1.1",
        b"Authorization: Bearer " + token.encode(),
        b"Content-Type: multipart/form-data; boundary=x",
    ]
    part = b"--x\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + b"u" * 40 + b"\r\n--x\r\n"
    return await raw(console, head, part + SHEET)


@pytest.mark.parametrize("disposition", MALFORMED_PARTS.values(), ids=MALFORMED_PARTS)
async def test_a_malformed_part_of_an_upload_is_refused_whatever_the_warning_filter(
    console: World, disposition: bytes
) -> None:
    answers = [await upload_of(console, disposition)]
    for action in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)  # type: ignore[arg-type]  # one of the actions
            answers.append(await upload_of(console, disposition))
    for status, answer in answers:
        assert status == 400, answer
        assert b"The upload broke off, or is not a form." in answer


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"a;b;c.csv", "a;b;c.csv"),
        (b"; name=x; filename=y;.csv", "; name=x; filename=y;.csv"),
        ("Größe 5 %; ü; 北京.csv".encode(), "Größe 5 %; ü; 北京.csv"),
        (b'a; \\"b\\";.csv', 'a; "b";.csv'),
        (b"..\\;/;b;c.csv", ";b;c.csv"),
        (b"a;\xff;b.csv", "a;?;b.csv"),
    ],
)
async def test_a_file_name_may_contain_semicolons(console: World, sent: bytes, shown: str) -> None:
    status, answer = await upload_of(console, b'form-data; name="sheet"; filename="' + sent + b'"')
    assert status == 201, answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["name"] == shown


async def test_a_console_warns_of_no_malformed_part_on_standard_error(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        async with team(tmp_path) as console:
            for disposition in MALFORMED_PARTS.values():
                await upload_of(console, disposition)
    assert not [each for each in seen if issubclass(each.category, RuntimeWarning)]
