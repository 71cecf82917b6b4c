"""The page of a sheet: one form with everything that a user can set, which leads to the preview."""

import io
import re
from pathlib import Path

import pytest
import xlsxwriter
from hypothesis import example, given
from hypothesis import strategies as st

from bulkid.errors import SheetError
from bulkid.resources import current
from bulkid.sheet import SheetOptions, fields_for_headers, suggest_fields
from bulkid.web.wording import ALLOW_DELETIONS, console_words
from tests.support.web_console import Page, World, sheet
from tests.support.web_programs import Program
from tests.support.web_users import signed_in, team

FORM_OF_TWO = {"continue": "1", "field-0": "name", "field-1": "display_name", "encoding": "", "delimiter": ""}


async def _uploaded(console: World, content: bytes, name: str = "a.csv") -> tuple[str, Page]:
    page = await console.browser.upload(name, content)
    assert page.status == 200, page.text
    return page.url.removeprefix(console.browser.base), page


def _chosen(page: Page, index: int) -> str:
    """The words of the option that the field of a column shows."""
    (select,) = re.findall(rf'<select name="field-{index}".*?</select>', page.text, re.DOTALL)
    chosen = re.search(r"<option[^>]* selected>([^<]*)<", select)
    return chosen[1] if chosen else "Ignore this column"


async def test_settings_below_the_button_are_saved_before_the_preview_is_made(console: World) -> None:
    path, page = await _uploaded(console, b"name,display_name\nrobot-0001,x\n,y\n")
    assert len(re.findall(r'type="submit">Continue to preview<', page.text)) == 1
    seen = await console.browser.post(path, {**FORM_OF_TWO, "skip_invalid": "1"})
    assert seen.url.endswith(f"{path}/preview")
    assert console.console.uploads.get(path.split("/")[-1]).reading.skip_invalid
    assert 'name="preview"' in (await console.browser.preview_page(path)).text, "the preview can be started"


async def test_a_mapping_that_makes_rows_invalid_comes_back_with_them(console: World) -> None:
    path, _ = await _uploaded(console, b"name,display_name,Team\nrobot-0001,x,!clear\n")
    mapped = {**FORM_OF_TWO, "field-2": "groups_to_add"}
    page = await console.browser.post(path, mapped)
    assert page.url.endswith(path), "the page of the sheet, not its preview"
    assert "1 invalid row" in page.text
    again = await console.browser.post(path, mapped)
    assert again.url.endswith(f"{path}/preview"), "the page has shown these rows"


async def test_two_columns_of_one_field_are_refused_beside_their_fields(console: World) -> None:
    path, _ = await _uploaded(console, b"name,display_name,Team\nrobot-0001,x,Finance\n")
    page = await console.browser.post(path, {**FORM_OF_TWO, "field-2": "display_name", "skip_invalid": "1"})
    assert page.status == 400
    assert "Two columns are read as the same field." in page.text
    assert 'aria-describedby="column-1" aria-invalid="true" autofocus' in page.text
    assert 'id="column-2" class="field-error">Column B is Display name, too. Choose one of them.' in page.text
    assert 'value="1" checked' in page.text, "what else was chosen is still chosen"
    reading = console.console.uploads.get(path.split("/")[-1]).reading
    assert reading.column_map == {}, "what cannot be read is not saved"
    (entry,) = [each for each in console.console.store.audit_entries() if each.action == "reading of a sheet refused"]
    assert entry.detail == "Two columns are read as the same field."


@pytest.mark.parametrize("content", [b"name,\nrobot-0001,New\n", b"name, \nrobot-0001,New\n", b"x,\nrobot-0001,New\n"])
async def test_a_field_for_a_column_without_a_header_is_refused_beside_it(console: World, content: bytes) -> None:
    page = await console.browser.upload("accounts.csv", content.replace(b"\n", b",note\n", 1).replace(b"New", b"New,y"))
    path = page.url.removeprefix(console.browser.base)
    form = {"field-0": "name", "field-1": "display_name", "field-2": "", "continue": "1"}
    page = await console.browser.post(path, form)
    assert page.status == 400
    assert "A column without a header cannot be used." in page.text
    assert "Two columns" not in page.text
    assert re.search(r'id="column-1" class="field-error">The column has no header', page.text)


async def test_fields_have_the_names_that_people_use(console: World) -> None:
    _, page = await _uploaded(console, b"name,groups_to_remove,Remarks\nrobot-0001,Finance,x\n")
    assert _chosen(page, 1) == "Groups to remove"
    assert _chosen(page, 2) == "Ignore this column"
    assert '<option value="groups">Groups (exactly these)</option>' in page.text


async def test_a_guess_is_preselected_and_continuing_confirms_it(console: World) -> None:
    path, page = await _uploaded(console, b"name,dispaly_name\nrobot-0001,New name\n")
    assert _chosen(page, 1) == "Display name (guess)"
    assert "choose what it means" in page.text
    await console.browser.post(path, FORM_OF_TWO)
    assert "<ins>New name</ins>" in (await console.browser.preview_page(path)).text


async def test_a_sheet_without_an_account_column_says_what_to_choose(console: World) -> None:
    path, page = await _uploaded(console, b"Who,What\nrobot-0001,New name\n")
    assert "No column names the robot account. Choose the column that holds its name or its ID." in page.text
    assert "--map" not in page.text
    refused = await console.browser.post(path, {"continue": "1", "field-0": "", "field-1": "display_name"})
    assert refused.status == 400
    assert 'aria-describedby="mapping-error" aria-invalid="true" autofocus' in refused.text
    assert _chosen(refused, 1) == "Display name"
    await console.browser.post(path, FORM_OF_TWO)
    assert "<ins>New name</ins>" in (await console.browser.preview_page(path)).text


async def test_a_sheet_without_rows_leads_to_no_preview(console: World) -> None:
    _, page = await _uploaded(console, b"name,display_name\n")
    assert "there is nothing to do" in page.text
    assert "Continue to preview" not in page.text


async def test_another_delimiter_comes_back_with_its_columns(console: World) -> None:
    path, _ = await _uploaded(console, b"name,display_name;groups\nrobot-0001,x;Finance\n")
    page = await console.browser.post(path, {**FORM_OF_TWO, "delimiter": "semicolon", "field-1": ""})
    assert page.url.endswith(f"{path}?columns=changed")
    assert "Check what they mean, then continue." in page.text


async def test_what_was_chosen_for_columns_of_another_delimiter_stands_in_the_way_of_no_other(console: World) -> None:
    path, _ = await _uploaded(console, b"name,display_name;groups\nrobot-0001,x;Finance\n")
    form = {"continue": "1", "field-0": "name", "field-1": ""}
    for _ in range(2):
        await console.browser.post(path, {**form, "delimiter": "semicolon"})
    page = await console.browser.post(path, {**form, "delimiter": "comma"})
    assert page.url.endswith(f"{path}?columns=changed")
    assert 'id="mapping-error"' not in page.text
    page = await console.browser.post(path, {**form, "delimiter": "comma"})
    assert page.url.endswith("/preview")


@pytest.mark.parametrize("fields", [("name", "", "display_name"), ("name", "display_name", "")])
async def test_a_column_whose_header_is_a_dash_may_be_chosen_or_ignored(
    console: World, fields: tuple[str, ...]
) -> None:
    """Such headers are equal, without their separators, to those of columns without a header."""
    path, _ = await _uploaded(console, b"Login,,-,note\nrobot-0001,,New,x\n")
    form = {"continue": "1", "field-0": fields[0], "field-1": "", "field-2": fields[2], "field-3": fields[1]}
    page = await console.browser.post(path, form)
    assert page.url.endswith("/preview")
    assert f"<ins>{'New' if fields[2] else 'x'}</ins>" in (await console.browser.preview_page(path)).text


async def test_columns_that_cannot_be_read_as_a_program_chose_them_say_so(console: World) -> None:
    path, _ = await _uploaded(console, b"name,display_name\nrobot-0001,x\n")
    program = Program(console)
    status, _ = await program.ask("PATCH", path, json={"map": {"Login": "name"}})
    assert status == 200
    page = await console.browser.get(path)
    assert "The columns cannot be read as they were chosen." in page.text
    page = await console.browser.post(path, FORM_OF_TWO)
    assert page.url.endswith("/preview")


async def test_another_worksheet_comes_back_with_its_own_columns(console: World) -> None:
    """The fields chosen for the columns of the worksheet before are not those of the next one."""
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream) as book:
        for name, header in (("First", ["name", "Notes"]), ("Second", ["account", "friendly name"])):
            worksheet = book.add_worksheet(name)
            worksheet.write_row(0, 0, header)
            worksheet.write_row(1, 0, ["robot-0001", "New name"])
    path, _ = await _uploaded(console, stream.getvalue(), "a.xlsx")
    page = await console.browser.post(path, {"continue": "1", "worksheet": "Second", "field-0": "", "field-1": ""})
    assert page.url.endswith(f"{path}?columns=changed")
    assert [_chosen(page, 0), _chosen(page, 1)] == ["Name", "Display name"]
    sent = {"continue": "1", "worksheet": "Second", "field-0": "name", "field-1": "display_name"}
    await console.browser.post(path, sent)
    assert "<ins>New name</ins>" in (await console.browser.preview_page(path)).text


async def test_another_worksheet_with_the_same_headers_comes_back_where_its_columns_mean_something_else(
    console: World,
) -> None:
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream) as book:
        for name in ("First", "Second"):
            worksheet = book.add_worksheet(name)
            worksheet.write_row(0, 0, ["name", "groups"])
            worksheet.write_row(1, 0, ["robot-0001", "Finance"])
    path, _ = await _uploaded(console, stream.getvalue(), "a.xlsx")
    sent = {"continue": "1", "worksheet": "Second", "field-0": "name", "field-1": ""}
    page = await console.browser.post(path, sent)
    assert page.url.endswith(f"{path}?columns=changed"), "groups are not read unless the user sees it"
    page = await console.browser.post(path, sent)
    assert page.url.endswith("/preview")
    assert "0</b> to change" in (await console.browser.preview_page(path)).text


async def test_a_file_that_cannot_be_read_offers_the_next_upload_on_its_page(console: World) -> None:
    _, page = await _uploaded(console, b"name,display_name\nrobot-0001,x\n", "text.xlsx")
    assert 'aria-describedby="sheet-error sheet-help" aria-invalid="true" autofocus' in page.text


async def test_rows_that_are_invalid_are_counted_as_rows_everywhere(console: World) -> None:
    """One number: a row with two errors is one invalid row, on the page of the sheet and in its preview."""
    rows = b"".join(b"robot-%04d,!clear,!clear\n" % number for number in range(1, 13))
    path, page = await _uploaded(console, b"name,groups_to_add,groups_to_remove\n" + rows)
    assert len(console.console.uploaded_sheets._uploaded_sheets[path.split("/")[-1]].parsed.check.row_errors) == 24
    assert "<b>12</b> invalid rows" in page.text
    assert '<h2 id="invalid">12 invalid rows</h2>' in page.text
    assert page.text.count("12 rows: 2-13") == 2, "a problem that repeats is one line"
    await console.browser.post(f"{path}/preview")
    seen = await console.browser.preview_page(path, "?show=invalid")
    assert re.search(r'Invalid rows <span class="dim">12<', seen.text)
    assert "12 rows: 2-13" in seen.text


async def test_who_continues_without_a_change_is_no_author(tmp_path: Path) -> None:
    async with (
        team(tmp_path, require_approval=True) as console,
        signed_in(console, "olaf") as olaf,
        signed_in(console, "otto") as otto,
    ):
        page = await olaf.upload("a.csv", sheet(2))
        path = page.url.removeprefix(console.browser.base)
        await otto.post(path, FORM_OF_TWO)
        assert console.console.uploads.get(path.split("/")[-1]).by == ("olaf",)
        await otto.post(path, {**FORM_OF_TWO, "skip_invalid": "1"})
        assert console.console.uploads.get(path.split("/")[-1]).by == ("olaf", "otto")


async def test_a_preview_that_has_to_wait_too_long_leaves_the_user_on_the_page(
    console: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = await _uploaded(console, sheet(2))
    monkeypatch.setattr(console.console.uploaded_sheets, "_pending_count", 1000)
    page = await console.browser.post(path, {**FORM_OF_TWO, "skip_invalid": "1"})
    assert page.status == 503
    assert "previews wait already" in page.text
    assert "Continue to preview" in page.text
    assert 'value="1" checked' in page.text, "the settings are saved"


async def test_skipping_invalid_rows_reads_the_file_no_second_time(console: World) -> None:
    path, _ = await _uploaded(console, sheet(2))
    parsed = (await console.console.uploaded_sheet(path.split("/")[-1])).parsed
    await console.browser.post(path, {**FORM_OF_TWO, "skip_invalid": "1"})
    now = await console.console.uploaded_sheet(path.split("/")[-1])
    assert now.upload.reading.skip_invalid
    assert now.parsed is parsed


def test_every_column_has_a_title_of_its_own() -> None:
    titles = current().titles
    assert list(titles) == list(current().columns)
    assert len(set(titles.values())) == len(titles)


@given(st.lists(st.sampled_from(["name", "id", "display name", "add groups", "Remarks", "", "groups"]), max_size=6))
def test_suggestions_are_what_a_sheet_is_read_as_where_it_can_be_read(headers: list[str]) -> None:
    suggested = tuple(meaning.field for meaning in suggest_fields(headers))
    try:
        read = fields_for_headers(headers, SheetOptions())
    except SheetError:
        return
    assert suggested == read


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            'Of the worksheets "A" and "B" the first is read, "A"; --sheet chooses another.',
            'Of the worksheets "A" and "B" the first is read, "A"; you can choose another one.',
        ),
        (
            "If letters are wrong, give --encoding, or save the sheet as CSV UTF-8.",
            "If letters are wrong, choose the encoding, or save the sheet as CSV UTF-8.",
        ),
        ("Group requests, as --via asks: 2 PUTs instead of 9.", "Group requests: 2 PUTs instead of 9."),
        ("Look at it with `bulkid plan`. To apply all of it, add --yes-really; --max-change N allows more.", ""),
        ('No group has the name "--force. Now". Choose one.', 'No group has the name "--force. Now". Choose one.'),
        ('Say which it is, e.g. --map "A=name". Or "this".', 'Or "this".'),
        ("Leave out --encoding.", "Choose the detected encoding."),
        (
            '"--allow-delete allows them". --allow-delete allows them.',
            f'"--allow-delete allows them". {ALLOW_DELETIONS}',
        ),
        ("robots.csv is empty.", "robots.csv is empty."),
        ("Everything is well -- so far.", "Everything is well -- so far."),
    ],
)
def test_messages_have_no_options_of_a_terminal(message: str, shown: str) -> None:
    assert console_words(message) == shown


@given(st.text() | st.from_regex(r"[a-zA-Z.; ]{0,10}--[a-z-]{1,9}[.; ][a-z]{0,9}"))
@example("--encoding")
def test_no_option_reaches_a_page(message: str) -> None:
    assert not re.search(r"(?<![\w-])--[a-z]", re.sub(r'"[^"]*"', "", console_words(message)))


@given(st.lists(st.text().map(lambda text: text.replace('"', "").replace("\0", "")), max_size=3))
def test_what_is_quoted_stays_as_it_is(values: list[str]) -> None:
    message = "".join(f'The value "{value}" is wrong. ' for value in values).strip()
    assert console_words(message) == message
