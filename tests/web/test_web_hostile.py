"""Malicious and broken uploads: each gets a clear message, nothing is run, and the console stays up."""

import io
import resource
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter

from tests.support.web_console import SAMPLES, World, run_id_of, small_organization, world

EVIL = "<img src=x onerror=alert(1)>"


async def _lives(console: World) -> None:
    assert (await console.browser.get("/")).status == 200


async def _megabytes(count: int) -> AsyncIterator[bytes]:
    yield b"name,display_name\n"
    line = b"robot-0001," + b"x" * 1012 + b"\n"
    for _ in range(count):
        yield line * 1024


async def test_200_megabytes_are_refused_in_words_and_never_held(console: World) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    page = await console.browser.upload("large.csv", _megabytes(200))
    assert page.status == 413
    assert "larger than 64 MB" in page.text
    assert list((console.console.state_dir / "uploads").iterdir()) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB
    await _lives(console)


async def test_a_zip_bomb_is_refused_before_it_is_unpacked(console: World) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as run_browser:
        run_browser.writestr("[Content_Types].xml", "<Types/>")
        with run_browser.open("xl/workbook.xml", "w", force_zip64=True) as part:
            for _ in range(300):
                part.write(b"\0" * (1 << 20))
    page = await console.browser.upload("bomb.xlsx", io.BytesIO(stream.getvalue()))
    assert "no honest sheet does" in page.text
    await _lives(console)


async def test_a_billion_laughs_are_not_laughed(console: World) -> None:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    evil = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">{laughs}]><x>&a9;</x>'
    for part in ("content.xml", "xl/workbook.xml", "xl/sharedStrings.xml", "xl/worksheets/sheet1.xml"):
        stream = io.BytesIO()
        name = "laughs.ods" if part == "content.xml" else "laughs.xlsx"
        source = _book() if name.endswith(".xlsx") else None
        with zipfile.ZipFile(stream, "w") as run_browser:
            if source is not None:
                with zipfile.ZipFile(io.BytesIO(source)) as good:
                    for each in good.namelist():
                        if each != part:
                            run_browser.writestr(each, good.read(each))
            else:
                run_browser.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
            run_browser.writestr(part, evil)
        page = await console.browser.upload(name, stream.getvalue())
        assert page.status == 200
        assert 'role="alert"' in page.text, part
    await _lives(console)


def _book(rows: list[list[str]] | None = None) -> bytes:
    stream = io.BytesIO()
    book = xlsxwriter.Workbook(stream)
    sheet = book.add_worksheet()
    for number, row in enumerate(rows or [["name", "display_name"], ["robot-0001", "x"]]):
        sheet.write_row(number, 0, row)
    book.close()
    return stream.getvalue()


OTHER_KINDS = (
    ("sheet.exe", "not a sheet that bulkid reads"),
    ("sheet", "not a sheet that bulkid reads"),
    ("sheet.xlsx.html", "not a sheet that bulkid reads"),
    ("", "No file was chosen"),
)


async def test_a_file_of_another_kind_is_refused(console: World) -> None:
    for name, says in OTHER_KINDS:
        page = await console.browser.upload(name, b"name\nrobot-0001\n")
        assert page.status in {400, 403}, name
        assert says in page.text, name
        assert 'id="sheet" name="sheet" type="file"' in page.text, "the user can choose another file at once"
        assert 'aria-describedby="sheet-error sheet-help" aria-invalid="true" autofocus' in page.text, name
        await _lives(console)


OTHER_CONTENTS = (
    ("text.xlsx", b"name,display_name\nrobot-0001,x\n"),
    ("book.csv", _book()),
    ("book.xls", _book()),
    ("nothing.csv", b""),
    ("nothing.xlsx", b""),
    ("noise.xlsx", b"PK\x03\x04" + b"\xff" * 1000),
    ("noise.csv", bytes(range(256)) * 50),
    ("cut.xlsx", _book()[:500]),
)


async def test_a_file_that_is_not_what_its_name_says_is_reported_of(console: World) -> None:
    for name, content in OTHER_CONTENTS:
        page = await console.browser.upload(name, content)
        assert page.status in {200, 400}, name
        assert 'role="alert"' in page.text, name
        assert "Traceback" not in page.text, name
        await _lives(console)


@pytest.mark.parametrize(
    "name", ["../../../evil.csv", "..\\..\\evil.csv", "/etc/evil.csv", "C:\\evil.csv", "a\u202eb.csv"]
)
async def test_a_path_in_the_name_leads_nowhere(console: World, name: str) -> None:
    page = await console.browser.upload(name, b"name,display_name\nrobot-0001,x\n")
    uploads = console.console.state_dir / "uploads"
    if page.status == 200:
        assert '<h1 class="any">' in page.text
        assert ".." not in page.text.split("<h1")[1].split("</h1>")[0]
        (folder,) = uploads.iterdir()
        assert sorted(each.name for each in folder.iterdir()) == ["sheet.csv", "upload.json"]
    assert not list(console.folder.rglob("evil*"))
    await _lives(console)


async def test_an_upload_that_is_not_there_is_not_found_anywhere(console: World) -> None:
    for upload in ("..", "../state", "%2e%2e%2f%2e%2e", "abcdefgh23456789", "ABCDEFGH23456789", "a" * 16):
        page = await console.browser.get(f"/sheets/{upload}/retry.csv")
        assert page.status in {400, 404}, upload


async def test_four_thousand_columns_make_no_endless_page(console: World) -> None:
    header = ",".join(["name", "display_name", *(f"column {number}" for number in range(4_000))])
    page = await console.browser.upload("wide.csv", f"{header}\nrobot-0001,x\n".encode())
    assert page.status == 200
    assert len(page.text) < 300_000
    assert "3,962 more columns are not shown" in page.text
    await _lives(console)


async def test_a_macro_workbook_is_read_as_the_table_that_it_is(console: World) -> None:
    source = io.BytesIO(_book())
    stream = io.BytesIO()
    with zipfile.ZipFile(source) as good, zipfile.ZipFile(stream, "w") as run_browser:
        for each in good.namelist():
            run_browser.writestr(each, good.read(each))
        run_browser.writestr("xl/vbaProject.bin", b"\xd0\xcf\x11\xe0 this is never opened")
    page = await console.browser.upload("macro.xlsm", stream.getvalue())
    assert "<b>1</b> row" in page.text
    await _lives(console)


async def test_markup_in_names_shows_as_text_on_every_page_and_in_the_files(tmp_path: Path) -> None:
    async with world(tmp_path, sandbox=small_organization(poisoned=("robot-0002",))) as console:
        state = console.sandbox.state
        state.rename(state.account_named("robot-0001"), EVIL + " before")
        quoted = '=HYPERLINK(""http://evil.example"")'
        rows = f'robot-0001,{EVIL},1\nrobot-0002,{EVIL},2\nrobot-0003,"{quoted}",3\n'
        content = f'name,display_name,"{EVIL}"\n{rows}'
        page = await console.browser.upload(f"{EVIL}.csv", content.encode())
        path = page.url.removeprefix(console.browser.base)
        pages = [page]
        invalid = await console.browser.upload(
            "bad.csv", f"name,groups_to_add\n{EVIL},{EVIL}\n{EVIL},!clear x\n".encode()
        )
        pages.append(invalid)
        await console.browser.post(f"{path}/preview")
        pages.append(await console.browser.preview_page(path))
        pages.append(await console.browser.preview_page(path, f"?search={EVIL}"))
        run_id = run_id_of(await console.browser.start(path))
        pages.append(await console.browser.run_ended(run_id))
        pages.append(await console.browser.get(f"/runs/{run_id}?search={EVIL}"))
        pages.append(await console.browser.get("/runs"))
        pages.append(await console.browser.get("/"))
        for each in pages:
            assert "<img" not in each.text, each.url
        assert sum("&lt;img" in each.text for each in pages) >= 6
        book = openpyxl.load_workbook(io.BytesIO((await console.browser.get(f"/runs/{run_id}/download/xlsx")).body))
        for each_sheet in book:
            for row in each_sheet.iter_rows():
                assert all(cell.data_type != "f" or str(cell.value).startswith("=COUNT") for cell in row)


async def test_a_body_that_is_no_form_is_refused(console: World) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "X-CSRF-Token": console.browser.csrf}
    for body in (
        b"",
        b"--x",
        b"garbage",
        b'--x\r\nContent-Disposition: form-data; name="vq\x1e"\r\n\r\nx\r\n--x--',
        b"--x\r\nContent-Disposition: nonsense\r\n\r\n",
    ):
        async with console.browser.session.post(
            f"{console.browser.base}/sheets", data=body, headers={**headers, "Origin": console.browser.base}
        ) as answer:
            assert answer.status in {400, 403}, body
    async with console.browser.session.post(
        f"{console.browser.base}/sheets", json={}, headers={"Origin": console.browser.base}
    ) as answer:
        assert answer.status == 415
    await _lives(console)


async def test_the_samples_are_understood(console: World) -> None:
    for name in ("robot_accounts.xlsx", "robot_accounts.csv", "migration.csv"):
        page = await console.browser.upload(name, (SAMPLES / name).read_bytes())
        assert "Continue to preview" in page.text
