"""A sheet whose encoding is not certain: the console shows how each encoding reads it, and the user chooses."""

from pathlib import Path

from bulkid import runs
from bulkid.sheet import SheetOptions
from tests.support.web_console import World

TURKISH = "name,display_name\r\nrobot-0001,Ayşe\r\n".encode("cp1254")


async def test_a_sheet_whose_encoding_is_not_certain_is_shown_in_each_and_read_in_the_one_chosen(
    console: World,
) -> None:
    browser = console.browser
    page = await browser.upload("names.csv", TURKISH)
    path = page.url.removeprefix(browser.base)
    assert "The encoding of the sheet is not certain." in page.text
    assert "line 2: robot-0001,Ayşe" in page.text
    assert "line 2: robot-0001,Ayþe" in page.text
    assert 'option value="cp1254"' in page.text
    wrong = await browser.post(path, {"encoding": "utf-8"})
    assert "cannot be decoded" in wrong.text
    assert 'option value="cp1254"' in wrong.text, "the user can choose again"
    page = await browser.post(path, {"encoding": "cp1254"})
    assert "<span>Ayşe</span>" in page.text
    assert "is not certain" not in page.text


async def test_a_preview_is_not_made_of_a_sheet_whose_encoding_is_not_certain(console: World) -> None:
    page = await console.browser.upload("names.csv", TURKISH)
    answer = await console.browser.post(f"{page.url.removeprefix(console.browser.base)}/preview", {})
    assert answer.status == 400
    assert not any(
        method != "GET" for method, path in console.sandbox.served if "identity" in path and "connect" not in path
    )


def test_the_library_reads_the_sheet_in_the_encoding_chosen(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_bytes(TURKISH)
    assert runs.check(path, SheetOptions(encoding="cp1254")).rows == 1
