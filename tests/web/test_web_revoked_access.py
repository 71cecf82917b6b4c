"""Access that is revoked during a request, authors, removal of sheets, and the audit log of these."""

import asyncio
from pathlib import Path

import pytest

from bulkid import runs
from bulkid.web.auth.access import Principal, Role
from bulkid.web.auth.users import issue_token
from bulkid.web.uploaded_sheets import MAX_CONCURRENT, MAX_WAITING
from tests.support.web_console import Browser, World, cookie_of, run_id_of, sheet
from tests.support.web_programs import Program
from tests.support.web_users import HASH, signed_in, team

START = b'--x\r\nContent-Disposition: form-data; name="sheet"; filename="a.csv"\r\n\r\n'


class SlowRequest:
    """A request whose body comes in two halves."""

    def __init__(self, console: World, head: list[bytes], body: bytes) -> None:
        self.console, self.body = console, body
        port = console.console.serve.port
        shared = [b"Host: 127.0.0.1:%d" % port, b"Origin: http://127.0.0.1:%d" % port, b"Connection: close"]
        self.head = [head[0], *shared, *head[1:], b"Content-Length: %d" % len(body)]

    async def begin(self, looked_up: asyncio.Event) -> None:
        """Send the first half, and wait until the console knows who asks."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.console.console.serve.port)
        self.writer.write(b"\r\n".join(self.head) + b"\r\n\r\n" + self.body[: len(self.body) // 2])
        await asyncio.wait_for(looked_up.wait(), 60)

    async def end(self) -> int:
        """Send the rest; gives the status."""
        self.writer.write(self.body[len(self.body) // 2 :])
        answer = await asyncio.wait_for(self.reader.read(), 60)
        self.writer.close()
        return int(answer.split(b" ", 2)[1])


def watch(console: World, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event that is set once the console has looked up a session or a token."""
    looked_up, loop = asyncio.Event(), asyncio.get_running_loop()
    for owner, name in ((type(console.console.sessions), "touch"), (type(console.console.store), "token")):
        real = getattr(owner, name)

        def seen(*arguments: object, _real: object = real) -> object:
            found = _real(*arguments)  # type: ignore[operator]
            loop.call_soon_threadsafe(looked_up.set)
            return found

        monkeypatch.setattr(owner, name, seen)
    return looked_up


def form_of(browser: Browser, path: str, body: bytes, *more: bytes) -> tuple[list[bytes], bytes]:
    """A request of a browser with a body of a form."""
    return [b"POST %s HTTP/1.1" % path.encode(), cookie_of(browser), *more], body


@pytest.mark.parametrize("change", ["role", "removal"])
@pytest.mark.parametrize("kind", ["form", "form with a header", "upload", "program", "program's upload"])
async def test_access_that_ends_while_a_body_comes_in_ends_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, kind: str
) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        path = await olaf.preview("accounts.csv", sheet(2))
        upload = path.rsplit("/", 1)[-1]
        before = len(list((console.console.state_dir / "uploads").iterdir()))
        token = issue_token(console.console.store, "test", Role.OPERATOR, Principal("olaf", Role.OPERATOR, "olaf"), 0.0)
        bearer = b"Authorization: Bearer " + token.encode()
        header = b"X-CSRF-Token: " + olaf.csrf.encode()
        form = b"skip_invalid=1&csrf=" + olaf.csrf.encode()
        file = START + sheet(3) + b"\r\n--x--\r\n"
        urlencoded, multipart = b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"
        head, body = {
            "form": form_of(olaf, path, form, b"Content-Type: " + urlencoded),
            "form with a header": form_of(olaf, path, form, b"Content-Type: " + urlencoded, header),
            "upload": form_of(olaf, "/sheets", file, b"Content-Type: " + multipart, header),
            "program": (
                [b"PATCH /api/v1/sheets/%s HTTP/1.1" % upload.encode(), bearer, b"Content-Type: application/json"],
                b'{"skip_invalid": true, "worksheet": ""}',
            ),
            "program's upload": (
                [b"POST /api/v1/sheets HTTP/1.1", bearer, b"Content-Type: " + multipart],
                file,
            ),
        }[kind]
        request = SlowRequest(console, head, body)
        await request.begin(watch(console, monkeypatch))
        store = console.console.store
        if change == "role":
            assert store.change_user("olaf", role="viewer")
        else:
            assert store.remove_user("olaf", 1.0)
        assert await request.end() in {401, 403}
        assert not console.console.uploads.get(upload).reading.skip_invalid
        assert len(list((console.console.state_dir / "uploads").iterdir())) == before


async def test_a_user_who_says_the_same_of_a_sheet_again_is_an_author_at_once(tmp_path: Path) -> None:
    async with (
        team(tmp_path, require_approval=True) as console,
        signed_in(console, "olaf") as olaf,
        signed_in(console, "otto") as otto,
    ):
        path = await olaf.preview("accounts.csv", sheet(2))
        await olaf.post(path, {"field-0": "name", "field-1": "display_name"})
        await olaf.post(f"{path}/preview")
        assert "Approve and update 2 accounts" in (await otto.preview_page(path)).text
        await otto.post(path, {"field-0": "name", "field-1": "display_name"})
        page = await otto.preview_page(path)
        assert "You are an author of this plan" in page.text
        upload = console.console.uploads.get(path.rsplit("/", 1)[-1])
        uploaded_sheet = await console.console.uploaded_sheet(upload.upload_id)
        assert uploaded_sheet.preview is not None
        refused = await otto.post(f"{path}/start", {"preview": uploaded_sheet.preview.preview_id})
        assert refused.status == 403
        assert not console.console.run_browser.runs()[0]


async def test_a_console_that_was_started_without_users_lets_nothing_in_once_there_are_users(console: World) -> None:
    store, link = console.console.store, console.authenticator.new_link()
    token = issue_token(store, "test", Role.ADMIN, Principal("ada", Role.ADMIN, "ada"), 0.0)
    store.add_user("ada", "admin", HASH, 0.0)
    page = await console.browser.get("/")
    assert page.status == 401
    assert "There are users now" in page.text
    page = await console.browser.get(f"/enter?key={link}")
    assert page.status == 401
    assert "There are users now" in page.text
    for path in ("/metrics", "/api/v1/runs"):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await console.browser.get(path, headers=headers)).status == 401


# --- removal of a sheet


async def test_the_author_and_admins_remove_a_sheet_and_others_do_not(tmp_path: Path) -> None:
    async with (
        team(tmp_path) as console,
        signed_in(console, "olaf") as olaf,
        signed_in(console, "otto") as otto,
        signed_in(console, "vera") as vera,
        signed_in(console, "ada") as ada,
    ):
        for remover in (olaf, ada):
            path = await olaf.preview("accounts.csv", sheet(2))
            await olaf.preview_page(path)
            for other in (otto, vera):
                for shown in (path, f"{path}/preview"):
                    assert f"{path}/remove" not in (await other.get(shown)).text
                assert (await other.post(f"{path}/remove")).status == 403
            for shown in (path, f"{path}/preview"):
                assert f"{path}/remove" in (await remover.get(shown)).text
            assert (await remover.post(f"{path}/remove")).status == 200
            assert (await olaf.get(path)).status == 404
            assert (await olaf.post(f"{path}/start", {"preview": "x"})).status == 404
            assert (await remover.post(f"{path}/remove")).status == 404
        assert not list((console.console.state_dir / "uploads").iterdir())
        entries, _ = console.console.store.audit_page(0, 100)
        said = [(entry.actor, entry.action) for entry in entries if "remov" in entry.action]
        assert said.count(("olaf", "sheet removed")) == 1
        assert said.count(("ada", "sheet removed")) == 1
        assert said.count(("otto", "removal of a sheet refused")) == 2


async def test_a_run_stays_when_the_sheet_that_it_was_begun_with_is_removed(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    assert (await console.browser.post(f"{path}/remove")).status == 200
    assert "2 updated" in (await console.browser.get(f"/runs/{run_id}")).text


# --- the audit log


async def test_a_preview_that_was_refused_is_not_in_the_audit_log_as_made(console: World) -> None:
    path = (await console.browser.upload("accounts.csv", sheet(2))).url.removeprefix(console.browser.base)
    console.console.uploaded_sheets._pending_count = MAX_CONCURRENT + MAX_WAITING
    assert (await console.browser.post(f"{path}/preview")).status == 503
    entries, _ = console.console.store.audit_page(0, 100)
    actions = [entry.action for entry in entries]
    assert "preview refused" in actions
    assert "preview made" not in actions


async def test_every_request_of_a_program_that_changes_something_has_an_entry_done_or_refused(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        operator, viewer = Program(console), Program(console, Role.VIEWER)

        def entries() -> list[str]:
            return [entry.action for entry in console.console.store.audit_page(0, 1000)[0]]

        _, made = await operator.upload(sheet(3))
        preview = await operator.previewed(made["sheet"])
        sheets = f"/sheets/{made['sheet']}"
        _, run = await operator.ask("POST", f"{sheets}/start", json={"preview": preview["preview"]})
        await operator.ended(run["run_id"])
        done = set(entries())
        assert {"sheet uploaded", "preview made", "run started"} <= done
        changing = [
            ("POST", "/sheets"),
            ("PATCH", sheets),
            ("POST", f"{sheets}/preview"),
            ("POST", f"{sheets}/start"),
            ("POST", f"/runs/{run['run_id']}/stop"),
            ("POST", f"/runs/{run['run_id']}/resume"),
            ("POST", f"/runs/{run['run_id']}/rest"),
        ]
        for who in (viewer, operator):
            for method, path in changing:
                before = len(entries())
                status, _ = await who.ask(method, path, json={"nonsense": 1})
                if who is operator and path.endswith("/preview"):  # takes no body
                    assert status == 202
                    continue
                assert 400 <= status < 500, (method, path)
                assert len(entries()) == before + 1, (method, path)
                assert entries()[0].endswith("refused")


async def test_a_run_of_which_nothing_is_pending_has_no_rest(tmp_path: Path) -> None:
    async with team(tmp_path, require_approval=True) as console, signed_in(console, "olaf") as olaf:
        await runs.run(
            _written(tmp_path),
            console.console.target,
            console.console.options,
            runs.Context(state_dir=console.console.state_dir, user="cli"),
        )
        run_id = console.console.run_browser.runs()[0][0].run.run_id
        assert (await olaf.post(f"/runs/{run_id}/resume")).status == 400
        status, answer = await Program(console).ask("POST", f"/runs/{run_id}/rest")
        assert status == 400
        assert "Nothing of run" in answer["error"]["message"]
        assert not list((console.console.state_dir / "uploads").glob("*"))


def _written(folder: Path) -> Path:
    path = folder / "accounts.csv"
    path.write_bytes(sheet(2))
    return path


async def test_one_user_cannot_fill_the_audit_log_with_refusals(console: World) -> None:
    limit = console.console.user_refusals.per_source
    for number in range(limit + 5):
        assert (await console.browser.post(f"/nowhere/{number}")).status in {404, 405}
    entries, total = console.console.store.audit_page(0, 1000)
    assert total <= limit + 5
    assert sum(entry.action.endswith("refused") for entry in entries) == limit
