"""What the console keeps is bounded: uploads on the disk, previews in memory, entries of the audit log."""

import errno
import io
import json
import os
import re
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from bulkid import runs
from bulkid.errors import StateError
from bulkid.journal import console_store
from bulkid.journal.console_store import AuditRecord
from bulkid.model import QuotaRule
from bulkid.report.atomic import create_private
from bulkid.web import uploaded_sheets
from bulkid.web.auth.access import Principal, Role, RouteKind
from bulkid.web.console import ServeOptions
from bulkid.web.server import ROUTES
from bulkid.web.uploaded_sheets import BusyError, UploadedSheets
from bulkid.web.uploads import (
    KEPT_S,
    ORPHAN_S,
    ReadOptions,
    StorageFullError,
    UnknownUploadError,
    Upload,
    UploadLimits,
    Uploads,
)
from tests.support.web_console import World, first_put, run_id_of, sheet, small_organization, world
from tests.support.web_programs import Program
from tests.support.web_users import PASSWORD, signed_in, team

DAY_S = 86_400.0
NEW_PASSWORD = "another horse battery"


def put(uploads: Uploads, owner: str, size: int, at: float = 0.0) -> Upload:
    """Take in an upload of so many bytes, in pieces."""
    made = uploads.reserve("a.csv", at, owner)
    try:
        written = 0
        with made.path.open("xb") as file:
            while written < size:
                written = uploads.write(made, file, b"x" * min(100, size - written), written)
        return uploads.keep(made)
    except StorageFullError:
        uploads.drop(made)
        raise


def held(folder: Path) -> list[int]:
    """The sizes of the uploads on the disk."""
    return [sum(file.stat().st_size for file in each.glob("sheet.*")) for each in folder.iterdir()]


def test_one_user_cannot_take_the_room_of_others(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, UploadLimits(total_count=5, user_count=2))
    for _ in range(2):
        put(uploads, "ada", 10)
    with pytest.raises(StorageFullError, match="Your uploads may take 2 sheets at most"):
        put(uploads, "ADA ", 10)
    put(uploads, "otto", 10)
    assert len(held(tmp_path)) == 3


def test_all_uploads_together_have_a_limit_too(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, UploadLimits(total_bytes=2 << 20, user_bytes=10 << 20))
    put(uploads, "ada", 1 << 20)
    with pytest.raises(StorageFullError, match="The uploads of all users may take 2 MB at most"):
        put(uploads, "otto", (1 << 20) + 1)
    assert held(tmp_path) == [1 << 20]  # the part that had come in is gone


def test_uploads_that_a_run_was_begun_with_make_room(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, UploadLimits(user_count=2))
    first, second = put(uploads, "ada", 10, at=1.0), put(uploads, "ada", 10, at=2.0)
    uploads.mark_used(second, 2.0)
    third = put(uploads, "ada", 10, at=3.0)
    assert {folder.name for folder in tmp_path.iterdir()} == {first.upload_id, third.upload_id}


def test_another_start_of_the_console_knows_what_is_kept(tmp_path: Path) -> None:
    limits = UploadLimits(user_bytes=1000)
    put(Uploads(tmp_path, limits), "ada", 600)
    with pytest.raises(StorageFullError, match="Your uploads"):
        put(Uploads(tmp_path, limits), "ada", 600)


def test_authors_of_an_upload_are_never_lost(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    made = put(uploads, "ada", 10)
    for name in ("otto", "olaf"):  # both say how to read the sheet that they saw, at the same time
        uploads.keep(Upload(made.upload_id, made.path, made.name, made.at, made.owner, ("ada", name)))
    assert uploads.get(made.upload_id).by == ("ada", "otto", "olaf")


def test_the_record_of_an_upload_is_not_replaced_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses to replace a file that is open: a page that is loaded would make a change of the sheet fail."""
    uploads = Uploads(tmp_path)
    made = put(uploads, "ada", 10)
    read, free = Path.read_bytes, []

    def write_meanwhile(path: Path) -> bytes:
        with ThreadPoolExecutor(1) as writer:
            free.append(writer.submit(uploads._lock.acquire, blocking=False).result())
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", write_meanwhile)
    uploads.get(made.upload_id)
    assert uploads.all()
    assert free == [False, False]


@pytest.mark.parametrize(
    "record", ["5", "[]", "{}", "", "null", '{"reading": 1}', '{"reading": {}, "by": [], "file": 1}']
)
def test_a_folder_whose_record_is_damaged_is_not_an_upload(tmp_path: Path, record: str) -> None:
    made = put(Uploads(tmp_path), "ada", 10)
    (made.path.parent / "upload.json").write_text(record, encoding="utf-8")
    with pytest.raises(UnknownUploadError):
        Uploads(tmp_path).get(made.upload_id)


@pytest.mark.parametrize("kind", ["undo", "rest", "retry"])
def test_a_plan_that_cannot_be_written_takes_no_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Literal["undo", "rest", "retry"]
) -> None:
    uploads = Uploads(tmp_path, UploadLimits(user_count=1))

    def full(path: Path) -> BinaryIO:
        if path.suffix != ".tmp":
            return create_private(path)  # the sheet itself
        raise OSError(errno.ENOSPC, "No space left on device")

    content = b"name\n" if kind == "retry" else b""
    with monkeypatch.context() as patch:
        patch.setattr("bulkid.web.uploads.create_private", full)
        with pytest.raises(StorageFullError, match="No space"):
            uploads.derive(kind, "run", 0.0, "ada", ("otto",), content=content)
    assert list(tmp_path.iterdir()) == []
    put(uploads, "ada", 10)


def test_a_sheet_that_waits_for_an_approval_again_is_kept_as_one_that_no_run_was_begun_with(tmp_path: Path) -> None:
    limits = UploadLimits(user_count=1)
    uploads = Uploads(tmp_path, limits)
    made = put(uploads, "ada", 10)
    uploads.mark_used(made, made.at)
    uploads.mark_previewed(uploads.get(made.upload_id), 3, 0)
    for each in (uploads, Uploads(tmp_path, limits)):  # the same after a restart
        with pytest.raises(StorageFullError):
            put(each, "ada", 10)
        assert each.drop_old(made.at + limits.used_kept_s + 1.0) == 0
    uploads.mark_used(made, made.at + DAY_S)
    for each in (uploads, Uploads(tmp_path, limits)):
        assert each.drop_old(made.at + DAY_S + limits.used_kept_s - 1.0) == 0
    assert uploads.drop_old(made.at + DAY_S + limits.used_kept_s + 1.0) == 1


def test_a_sheet_is_kept_from_the_run_on_that_was_begun_with_it(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    made = put(uploads, "ada", 10)
    begun = made.at + KEPT_S - 60.0
    uploads.mark_used(made, begun)
    uploads.keep(made)  # by a request that read the record before
    assert uploads.drop_old(begun + 3600.0) == 0
    assert uploads.drop_old(begun + uploads.limits.used_kept_s + 1.0) == 1


def test_a_plan_of_a_run_without_known_authors_has_none(tmp_path: Path) -> None:
    assert Uploads(tmp_path).derive("rest", "run", 0.0, "ada", ()).by == ()


def test_a_record_of_an_older_or_a_newer_version_is_read(tmp_path: Path) -> None:
    made = put(Uploads(tmp_path), "ada", 10)
    path = made.path.parent / "upload.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    later = {
        "owner",
        "rest_of",
        "used",
        "used_at",
        "changes",
        "rejected_by",
        "rejected_at",
        "comment",
        "note",
        "deletions",
        "recreate",
        "revision",
    }
    assert {"file", "name", "at", "by", "reading", "retry_of", "undo_of"} | later == record.keys()
    for name in later:
        del record[name]
    path.write_text(json.dumps({**record, "of a newer version": 1}), encoding="utf-8")
    assert Uploads(tmp_path).get(made.upload_id) == made


def test_a_plan_that_an_older_version_has_started_does_not_wait_for_an_approval(tmp_path: Path) -> None:
    made = put(Uploads(tmp_path), "ada", 10, at=5.0)
    path = made.path.parent / "upload.json"
    record = json.loads(path.read_text(encoding="utf-8")) | {"used": True, "changes": 3, "deletions": 1}
    del record["used_at"]
    path.write_text(json.dumps(record), encoding="utf-8")
    uploads = Uploads(tmp_path)
    assert not uploads.get(made.upload_id).is_open
    uploads.mark_previewed(made, 2, 0)  # again, by this version
    assert uploads.get(made.upload_id).is_open


OWNERS = ("ada", "otto", "olaf")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(OWNERS), st.integers(0, 900)),
        st.tuples(st.just("use"), st.just(""), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.just(""), st.integers(0, 20)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_sequence_of_uploads_takes_more_than_the_limits(steps: list[tuple[str, str, int]]) -> None:
    limits = UploadLimits(total_bytes=3000, total_count=6, user_bytes=1500, user_count=3)
    with tempfile.TemporaryDirectory() as name:
        folder, now = Path(name), 0.0
        uploads, made = Uploads(folder, limits), list[Upload]()
        for step, owner, number in steps:
            if step == "put":
                with suppress(StorageFullError):
                    made.append(put(uploads, owner, number, now))
            elif step == "use" and made:
                uploads.mark_used(made[number % len(made)], now)
            elif step == "wait":
                now += number * DAY_S
                uploads.drop_old(now)
            elif step == "restart":
                uploads = Uploads(folder, limits)
            kept = [each for each in made if (folder / each.upload_id).is_dir()]
            assert len(kept) == len(list(folder.iterdir())) <= limits.total_count
            assert sum(held(folder)) <= limits.total_bytes
            for owner_ in OWNERS:
                own = [each for each in kept if each.owner == owner_]
                assert len(own) <= limits.user_count
                assert sum(each.path.stat().st_size for each in own) <= limits.user_bytes
            if step == "wait":
                assert all(each.at >= now - limits.kept_s - limits.used_kept_s for each in kept)


@dataclass
class Days:
    """A clock whose sleepers wake at once; after so many seconds it stands still."""

    stop_s: float
    passed_s: float = 0.0
    stopped: anyio.Event = field(default_factory=anyio.Event)

    def now(self) -> float:
        return 1_700_000_000.0 + self.passed_s

    def monotonic(self) -> float:
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds
        if self.passed_s >= self.stop_s:
            self.stopped.set()
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()


async def test_a_console_that_runs_for_weeks_removes_what_is_old(console: World) -> None:
    subject = console.console
    clock = subject.clock = Days(15 * DAY_S)
    old = put(subject.uploads, "ada", 10, clock.now())
    used = put(subject.uploads, "ada", 10, clock.now() + 5 * DAY_S)
    young = put(subject.uploads, "ada", 10, clock.now() + 5 * DAY_S)
    subject.uploads.mark_used(used, clock.now() + 6 * DAY_S)
    subject.store.add_audit_entry(AuditRecord(clock.now() - 390 * DAY_S, "ada", "", "old", "", ""))
    subject.store.add_audit_entry(AuditRecord(clock.now(), "ada", "", "young", "", ""))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(subject.prune_periodically)
        with anyio.fail_after(60):
            await clock.stopped.wait()
        tasks.cancel_scope.cancel()
    assert [(subject.uploads._folder / each.upload_id).is_dir() for each in (old, used, young)] == [False, False, True]
    actions = [entry.action for entry in subject.store.audit_entries()]
    assert "old" not in actions
    assert "young" in actions


def test_a_folder_that_an_interrupted_upload_left_behind_is_removed(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads")
    lost = tmp_path / "uploads" / "abcdefghjkmnpqrs"
    lost.mkdir(parents=True)
    made_at = lost.stat().st_mtime
    assert uploads.drop_old(made_at + ORPHAN_S - 1.0) == 0
    under_way = uploads.reserve("a.csv", made_at, "ada")
    assert uploads.drop_old(made_at + KEPT_S * 2) == 1
    assert not lost.exists()
    assert under_way.path.parent.is_dir()


async def test_an_upload_beyond_the_limit_is_refused_with_the_limit_named(tmp_path: Path) -> None:
    serve = ServeOptions(port=0, upload_limits=UploadLimits(user_count=1))
    async with world(tmp_path, serve=serve) as console:
        # The console's user has the name of the system's user, which may be that of the tests' usual owner.
        program = Program(console, owner=Principal("owner of a token", Role.ADMIN, "owner of a token"))
        await console.browser.upload("a.csv", sheet(1))
        page = await console.browser.upload("b.csv", sheet(1))
        assert page.status == 507
        assert "may take 1 sheets at most" in page.text
        assert (await program.upload(sheet(1)))[0] == 201
        status, answer = await program.upload(sheet(1))
        assert (status, answer["error"]["code"]) == (507, "insufficient_storage")
        refused = [entry.detail for entry in console.console.store.audit_entries() if entry.action == "upload refused"]
        assert len(refused) == 2
        assert all("may take 1 sheets at most" in detail for detail in refused)
        assert 'type="file"' in page.text, "the user can choose again on this page"
        path = page.url.removeprefix(console.browser.base)
        assert path == "/sheets"


async def test_a_sheet_that_a_run_was_begun_with_makes_room_for_the_next(tmp_path: Path) -> None:
    serve = ServeOptions(port=0, upload_limits=UploadLimits(user_count=1))
    async with world(tmp_path, serve=serve) as console:
        for number in range(1, 3):
            path = await console.browser.preview("a.csv", sheet(2, prefix=f"Name {number}"))
            run_id = run_id_of(await console.browser.start(path))
            assert "2 updated" in (await console.browser.run_ended(run_id)).text


class _FullAtClose(io.BytesIO):
    """A file whose last bytes find no room on the disk."""

    def close(self) -> None:
        if not self.closed:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("moment", ["folder", "sheet", "end of the sheet", "record"])
async def test_an_upload_on_a_full_disk_is_refused_in_a_sentence(
    console: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def made(path: Path) -> BinaryIO:
        if moment == "end of the sheet" and path.suffix == ".csv":
            return _FullAtClose()
        if (path.suffix == ".tmp") is (moment == "record"):
            full()
        return create_private(path)

    if moment == "folder":
        monkeypatch.setattr("bulkid.web.uploads.make_private", full)
    else:
        monkeypatch.setattr("bulkid.web.uploads.create_private", made)
    page = await console.browser.upload("a.csv", sheet(1))
    assert page.status == 507
    assert "The console cannot keep the sheet: No space left on device." in page.text
    assert 'type="file"' in page.text, "the user can choose again on this page"
    status, answer = await Program(console).upload(sheet(1))
    assert (status, answer["error"]["code"]) == (507, "insufficient_storage")
    assert not list((console.folder / "state" / "uploads").glob("*"))


async def test_a_sheet_is_not_kept_where_its_upload_cannot_be_recorded(
    console: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StateError("The state database is full.")

    monkeypatch.setattr(console_store, "_add_entry", full)
    assert (await console.browser.upload("a.csv", sheet(1))).status == 503
    assert not list((console.folder / "state" / "uploads").glob("*"))


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Actions that the audit log does not take."""
    actions: set[str] = set()
    add = console_store._add_entry

    def full(connection: Connection, entry: AuditRecord | None) -> None:
        if entry is not None and entry.action in actions:
            raise StateError("The state database is full.")
        add(connection, entry)

    monkeypatch.setattr(console_store, "_add_entry", full)
    return actions


def _puts(console: World) -> int:
    return sum(count for (method, _), count in console.sandbox.served.items() if method == "PUT")


async def test_a_run_sends_nothing_before_its_start_is_in_the_audit_log(console: World, unwritable: set[str]) -> None:
    browser = console.browser
    path = await browser.preview("accounts.csv", sheet(3))
    unwritable.add("run started")
    page = await browser.start(path)
    assert (page.status, "The state database is full." in page.text) == (503, True)
    (line,) = console.console.run_browser.runs(limit=10)[0]
    ended = await browser.run_ended(line.run.run_id)
    assert "The start of this run could not be recorded in the audit log: nothing was sent." in ended.text
    assert _puts(console) == 0
    unwritable.clear()
    assert "3 updated" in (await browser.run_ended(run_id_of(await browser.start(path)))).text


async def test_a_run_is_not_resumed_before_that_is_in_the_audit_log(tmp_path: Path, unwritable: set[str]) -> None:
    async with world(tmp_path, quota=(QuotaRule("PUT", 1, 3600.0),)) as console:
        run_id = run_id_of(await console.browser.start(await console.browser.preview("accounts.csv", sheet(3))))
        await first_put(console)
        await console.browser.post(f"/runs/{run_id}/pause")
        await console.browser.run_ended(run_id)
        unwritable.add("run resumed")
        assert (await console.browser.post(f"/runs/{run_id}/resume")).status == 503
        assert console.console.job_runner.running == 0


async def test_a_run_is_stopped_also_where_that_cannot_be_recorded(tmp_path: Path, unwritable: set[str]) -> None:
    async with world(tmp_path, quota=(QuotaRule("PUT", 1, 3600.0),)) as console:
        run_id = run_id_of(await console.browser.start(await console.browser.preview("accounts.csv", sheet(3))))
        await first_put(console)
        unwritable.add("run paused")
        page = await console.browser.post(f"/runs/{run_id}/pause")
        assert page.status == 503
        assert (
            "The run is being stopped, but the audit log has no entry of it: The state database is full." in page.text
        )
        assert "Paused by" in (await console.browser.run_ended(run_id)).text


@pytest.mark.parametrize(
    ("action", "address", "form"),
    [
        ("sheet removed", "{path}/remove", {}),
        ("retry prepared", "/runs/{run}/retry", {}),
        ("undo previewed", "/runs/{run}/undo", {}),
        ("plan rejected", "{path}/reject", {"comment": "no"}),
        ("password changed", "/account/password", {"current": PASSWORD, "new": NEW_PASSWORD, "again": NEW_PASSWORD}),
        ("sheet read otherwise", "{path}", {"encoding": "cp1252", "field-0": "name", "field-1": "display_name"}),
        ("token issued", "/tokens", {"current": PASSWORD, "name": "nightly", "role": "viewer"}),
        ("token revoked", "/tokens/{token}/revoke", {}),
        ("signed out", "/signout", {}),
        ("signed out everywhere", "/signout-everywhere", {"current": PASSWORD}),
        ("session ended", "/account/sessions/end", {"current": PASSWORD, "session": "{session}"}),
    ],
)
async def test_what_the_audit_log_does_not_take_is_not_done(
    tmp_path: Path, unwritable: set[str], action: str, address: str, form: dict[str, str]
) -> None:
    options = small_organization(poisoned=("robot-0002",))
    async with (
        team(tmp_path, require_approval=True, sandbox=options) as console,
        signed_in(console, "olaf") as olaf,
        signed_in(console, "otto") as otto,
        signed_in(console, "ada") as ada,
    ):
        run_id = run_id_of(await otto.start(await olaf.preview("accounts.csv", sheet(3))))
        await otto.run_ended(run_id)
        path = await olaf.preview("accounts.csv", sheet(3, prefix="Other"))
        preview = re.findall(r'name="preview" value="(\w+)"', (await otto.preview_page(path)).text)[0]
        before = console.console.uploads.all()
        users = console.console.store.users()
        who = {"sheet removed": olaf, "token issued": ada, "token revoked": ada}.get(action, otto)
        await ada.post("/tokens", {"current": PASSWORD, "name": "reader", "role": "viewer"})
        tokens = console.console.store.tokens()
        user = next(user for user in users if user.name == "otto")
        session = (await console.console.sessions.of_user(user.key, user.epoch))[0].session_hash
        unwritable.add(action)
        address = address.format(path=path, run=run_id, token=tokens[0].token_id)
        sent = {name: session if value == "{session}" else value for name, value in form.items()}
        page = await who.post(address, {"preview": preview, **sent})
        assert page.status == 503
        assert console.console.uploads.all() == before
        assert console.console.store.users() == users
        assert console.console.store.tokens() == tokens
        assert (await who.get("/account")).status == 200


async def test_a_report_for_which_the_disk_has_no_room_is_refused_in_a_sentence(
    console: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_id_of(await console.browser.start(await console.browser.preview("a.csv", sheet(1))))
    await console.browser.run_ended(run_id)

    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bulkid.web.run_pages.tempfile.TemporaryDirectory", full)
    page = await console.browser.get(f"/runs/{run_id}/download/csv")
    assert page.status == 507
    assert "The console cannot write a file: No space left on device." in page.text


async def test_a_file_that_is_too_large_is_answered_413(console: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkid.web.uploads.MAX_BYTES", 1000)
    assert (await console.browser.upload("a.csv", b"x" * 2000)).status == 413
    status, answer = await Program(console).upload(b"x" * 2000)
    assert (status, answer["error"]["code"]) == (413, "too_large")


# --- memory


def nothing_planned(spawn: Any = None) -> UploadedSheets:
    """The previews of a console that makes none by itself."""
    target = runs.Target(url="https://cloud.uipath.com/acme")
    return UploadedSheets(target, runs.RunOptions(), runs.Context(), spawn, lambda _upload, _preview: None)


@asynccontextmanager
async def during_a_slow_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[UploadedSheets, Uploads, Upload]]:
    """Have a request read a sheet, which takes as long as the block; other requests read it at once."""
    subject, uploads = nothing_planned(lambda _work: None), Uploads(tmp_path)
    made, begun, go_on = put(uploads, "ada", 10), anyio.Event(), anyio.Event()

    async def read(_function: Any) -> uploaded_sheets.ParsedUpload:
        if not begun.is_set():
            begun.set()
            await go_on.wait()
        return uploaded_sheets.ParsedUpload()

    monkeypatch.setattr(subject, "read", read)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(subject.get, made)
        await begun.wait()
        yield subject, uploads, made
        go_on.set()


async def test_a_preview_stays_when_another_request_reads_its_sheet_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with during_a_slow_reading(tmp_path, monkeypatch) as (subject, _, made):
        task = subject.begin_preview(await subject.get(made))
    assert (await subject.get(made)).preview is task


async def test_a_preview_stays_when_a_request_has_read_the_record_of_its_sheet_before_that_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with during_a_slow_reading(tmp_path, monkeypatch) as (subject, uploads, made):
        changed = uploads.keep(replace(made, reading=ReadOptions(delimiter=";"), by=("ada", "bob")))
        task = subject.begin_preview(await subject.get(changed))
    for record in (changed, made, changed):
        found = await subject.get(record)
        assert (found.preview, found.upload) == (task, changed)


async def test_only_so_many_previews_are_made_and_wait_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, go_on = 0, 0, anyio.Event()

    async def plan(*_arguments: Any, **_more: Any) -> runs.PlanResult:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await go_on.wait()
        at_once -= 1
        return runs.PlanResult(None, {}, (), None, 0)

    monkeypatch.setattr(runs, "plan", plan)
    begun: list[Any] = []
    subject, uploads = nothing_planned(begun.append), Uploads(tmp_path)
    uploaded_sheet = await subject.get(put(uploads, "ada", 10))
    for _ in range(uploaded_sheets.MAX_CONCURRENT + uploaded_sheets.MAX_WAITING):
        subject.begin_preview(uploaded_sheet)
    with pytest.raises(BusyError, match="wait already"):
        subject.begin_preview(uploaded_sheet)
    async with anyio.create_task_group() as tasks:
        for make in begun:
            tasks.start_soon(make)
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert most == uploaded_sheets.MAX_CONCURRENT
    subject.begin_preview(uploaded_sheet)  # there is room again


async def test_uploaded_sheets_that_were_used_least_lately_leave_memory_when_rows_or_number_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploaded_sheets, "MAX_KEPT_ROWS", 25)
    monkeypatch.setattr(uploaded_sheets, "MAX_KEPT", 3)
    subject, uploads = nothing_planned(), Uploads(tmp_path)

    def taken(rows: int) -> Upload:
        made = uploads.reserve("a.csv", 0.0, "ada")
        made.path.write_bytes(sheet(rows))
        return uploads.keep(made)

    small = [await subject.get(taken(1)) for _ in range(4)]
    assert [each.upload.upload_id in subject._uploaded_sheets for each in small] == [False, True, True, True]
    large = await subject.get(taken(24))
    assert list(subject._uploaded_sheets) == [small[3].upload.upload_id, large.upload.upload_id]
    huge = await subject.get(taken(100))  # the one at hand stays, however large
    assert list(subject._uploaded_sheets) == [huge.upload.upload_id]


# --- the audit log


async def test_every_refusal_of_a_user_and_every_download_has_an_entry(tmp_path: Path) -> None:
    async with (
        team(tmp_path, require_approval=True) as console,
        signed_in(console, "olaf") as olaf,
        signed_in(console, "otto") as otto,
        signed_in(console, "vera") as vera,
    ):
        path = await olaf.preview("accounts.csv", sheet(3))
        token = (await otto.preview_page(path)).text.split('name="preview" value="')[1].split('"')[0]
        await olaf.post(f"{path}/start", {"preview": token})
        await vera.post(f"{path}/start", {"preview": token})
        await olaf.post(f"{path}/start", {"preview": token, "csrf": "x"})
        console.sandbox.state.account_named("robot-0001").display_name = "Meanwhile"
        stale = run_id_of(await otto.start(path))
        await otto.run_ended(stale)
        run_id = run_id_of(await otto.start(path, first="1"))
        await otto.run_ended(run_id)
        for action in ("pause", "stop"):
            await otto.post(f"/runs/{run_id}/{action}")
        await olaf.post(f"/runs/{run_id}/resume")
        await olaf.post(f"/runs/{run_id}/undo")
        await olaf.post(f"/runs/{stale}/retry")
        await olaf.post("/runs/nope/retry")
        await olaf.post("/status")
        for kind in ("csv", "nope"):
            await vera.get(f"/runs/{run_id}/download/{kind}")
        found = [(entry.actor, entry.action) for entry in console.console.store.audit_entries()]
        details = {entry.action: entry.detail for entry in console.console.store.audit_entries()}
        plan = runs.find_run(run_id, console.console.state_dir).options["approved"]
    # Counted, since a run finds that the directory has changed while its start is still being written down.
    assert Counter(each for each in found if each[1] != "signed in") == Counter(
        [
            ("olaf", "sheet uploaded"),
            ("olaf", "preview made"),
            ("olaf", "start refused"),
            ("vera", "start refused"),
            ("olaf", "start refused"),
            ("otto", "run started"),
            ("otto", "start refused"),
            ("otto", "plan approved"),
            ("otto", "run started"),
            ("otto", "pause"),  # of a run that has ended: the page shows that, and nothing is refused
            ("otto", "stop"),
            ("olaf", "rest previewed"),
            ("olaf", "undo previewed"),
            ("olaf", "retry prepared"),
            ("olaf", "retry refused"),
            ("olaf", "connection check"),
            ("vera", "report downloaded"),
            ("vera", "download refused"),
        ]
    )
    assert details["plan approved"] == f"plan {plan} of olaf"


async def test_every_route_that_changes_something_leaves_an_entry_when_it_is_refused(console: World) -> None:
    refused_count = 0
    for route in ROUTES:
        pattern = route.path
        if route.method == "GET" or route.role is None or route.kind is RouteKind.API:
            continue
        address = pattern.replace("{upload}", "x").replace("{run}", "x").replace("{token}", "x")
        before = console.console.store.audit_page(0, 1)[1]
        assert (await console.browser.post(address, {"csrf": "wrong"})).status in {403, 415}, pattern
        entries, total = console.console.store.audit_page(0, 1)
        assert total == before + 1, pattern
        assert entries[0].action.endswith("refused"), pattern
        refused_count += 1
    assert refused_count > 12


@pytest.mark.skipif(sys.platform == "win32", reason="rights are inherited there")
def test_sheets_and_their_records_are_their_owner_s_alone_however_lax_the_umask_is(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    before = os.umask(0)
    try:
        uploads = Uploads(folder)
        made = uploads.derive("retry", "run", 0.0, "ada", ("ada",), content=b"name\nr\n")
        uploads.mark_used(made, 1.0)
    finally:
        os.umask(before)
    rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert rights == {"uploads": 0o700, made.upload_id: 0o700, "sheet.csv": 0o600, "upload.json": 0o600}
