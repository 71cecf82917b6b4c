"""Encodings: a sheet is read right or refused, in every language, code page and size."""

import io
import random
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.errors import SheetError
from bulkid.sheet import (
    SheetOptions,
    UncertainEncodingError,
    legacy_encoding,
    open_sheet,
    open_sheet_file,
    system_code_page,
)
from bulkid.sheet.legacy_encoding import Sample, detect
from tests.support.examples import examples
from tests.support.real_names import NAMES

PLAIN = ("Invoice Robot", "Robot Finance", "SAP Upload", "Mail", "Warehouse", "Report Robot")
CASES = (str, str.upper, str.lower)
TONES = "\u0300\u0301\u0303\u0309\u0323"  # what Vietnamese writes as characters of their own in cp1258
PAIRS = [(language, encoding) for language, names in NAMES.items() for encoding in names.encodings]
SYSTEMS = ("", "cp1252", "cp1250", "cp1251", "cp1254", "cp1257", "cp932")


@cache
def writable(language: str, encoding: str, case: int) -> list[str]:
    """The names of a language that a code page can write, in one case."""
    return [name for name in map(CASES[case], NAMES[language].names) if encoded(name, encoding) is not None]


def encoded(text: str, encoding: str) -> bytes | None:
    if encoding == "cp1258":
        text = "".join(split_tone(character) for character in unicodedata.normalize("NFC", text))
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return None


def split_tone(character: str) -> str:
    try:
        character.encode("cp1258")
    except UnicodeEncodeError:
        marks = unicodedata.normalize("NFD", character)
        letter = unicodedata.normalize("NFC", "".join(mark for mark in marks if mark not in TONES))
        return letter + "".join(mark for mark in marks if mark in TONES)
    return character


def sheet_of(names: Sequence[str], encoding: str) -> bytes:
    lines = ["name,display_name,groups_to_add", *(f'robot-{row:05},{name},"IT"' for row, name in enumerate(names))]
    content = encoded("\r\n".join(lines) + "\r\n", encoding)
    assert content is not None
    return content


def read(content: bytes, system: str = "", **options: str) -> list[str]:
    with open_sheet(io.BytesIO(content), SheetOptions(system_encoding=system or None, **options)) as sheet:  # type: ignore[arg-type]
        return [row.cells[1] for chunk in sheet.chunks() for row in chunk]


def right_or_refused(names: Sequence[str], encoding: str, system: str) -> bool:
    """Whether a sheet is read; it is never read wrong."""
    content = sheet_of(names, encoding)
    try:
        found = read(content, system)
    except UncertainEncodingError:
        return False
    assert [unicodedata.normalize("NFC", name) for name in found] == [
        unicodedata.normalize("NFC", name) for name in names
    ]
    return True


# --- the law


@pytest.mark.parametrize(("language", "encoding"), PAIRS)
def test_a_sheet_is_read_right_or_refused(language: str, encoding: str) -> None:
    chance = random.Random(f"{language} {encoding}")
    for rows, share, times in ((5, 0.3, 3), (5, 1.0, 3), (70, 0.05, 3), (70, 1.0, 1), (2000, 0.002, 1), (2000, 1.0, 1)):
        for number in range(times):
            names = writable(language, encoding, number % len(CASES))
            if names:
                chosen = [chance.choice(names if chance.random() < share else PLAIN) for _ in range(rows)]
                right_or_refused(chosen, encoding, chance.choice(SYSTEMS))


@settings(max_examples=examples(75, soak=1000), deadline=None)
@given(st.data())
def test_no_choice_of_names_is_read_wrong(data: st.DataObject) -> None:
    language, encoding = data.draw(st.sampled_from(PAIRS))
    names = writable(language, encoding, data.draw(st.integers(0, len(CASES) - 1)))
    if names:
        chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=8))
        right_or_refused(chosen, encoding, data.draw(st.sampled_from(SYSTEMS)))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_single_words_are_not_read_wrong_either(data: st.DataObject) -> None:
    language, encoding = data.draw(st.sampled_from(PAIRS))
    names = writable(language, encoding, 0)
    words = sorted({word for name in names for word in name.split() if not word.isascii()})
    if words:
        right_or_refused([data.draw(st.sampled_from(words))], encoding, data.draw(st.sampled_from(SYSTEMS)))


@pytest.mark.parametrize("encoding", ["cp437", "cp860", "cp862", "cp737", "cp866"])
def test_the_dot_of_catalan_in_a_dos_code_page_is_not_read_as_a_letter(encoding: str) -> None:
    assert not right_or_refused(["Instal·lacions", "Col·lecció"[:8]], encoding, "")


# --- what is certain is read


WESTERN = [language for language, names in NAMES.items() if names.encodings[0] == "cp1252"]


@pytest.mark.parametrize("language", WESTERN)
def test_western_sheets_as_excel_writes_them_are_read(language: str) -> None:
    chance = random.Random(language)
    names = writable(language, "cp1252", 0)
    for rows in (70, 2000):
        assert right_or_refused([chance.choice(names) for _ in range(rows)], "cp1252", "")


@pytest.mark.parametrize(
    "name",
    ["Besançon", "François Gérard", "Jörg Müller", "Größe über", "José Núñez", "São João", "Øyvind Åse", "Cité"],
)
def test_a_single_western_name_is_read(name: str) -> None:
    assert right_or_refused([name], "cp1252", "")


@pytest.mark.parametrize(
    ("language", "encoding"),
    [("Japanese", "cp932"), ("Simplified Chinese", "gb18030"), ("Traditional Chinese", "cp950"), ("Korean", "cp949")],
)
def test_multi_byte_sheets_are_read(language: str, encoding: str) -> None:
    assert right_or_refused(NAMES[language].names, encoding, "")
    assert right_or_refused(NAMES[language].names * 100, encoding, "")


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        *(("Polish", "cp1250"), ("Czech", "cp1250"), ("Hungarian", "cp1250"), ("Croatian", "cp1250")),
        *(("Turkish", "cp1254"), ("Lithuanian", "cp1257"), ("Latvian", "cp1257"), ("Russian", "cp1251")),
        *(("Ukrainian", "cp1251"), ("Bulgarian", "cp1251"), ("Romanian", "cp1250"), ("Arabic", "cp1256")),
    ],
)
def test_the_code_page_of_the_system_is_read_there_and_refused_elsewhere(language: str, encoding: str) -> None:
    names = NAMES[language].names
    assert right_or_refused(names, encoding, encoding)
    assert not right_or_refused(names, encoding, "")
    assert not right_or_refused(names, encoding, "cp1252")


def test_the_code_page_of_the_system_is_asked_for_on_windows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getencoding", lambda: "cp1250")
    assert system_code_page("win32") == "cp1250"
    assert system_code_page("linux") == ""
    monkeypatch.setattr("locale.getencoding", lambda: "utf-8")
    assert system_code_page("win32") == ""


# --- what is not certain is refused


@pytest.mark.parametrize(
    ("name", "encoding", "others"),
    [
        ("Ayşe", "cp1254", {"cp1252"}),
        ("Māra", "cp1257", {"cp1252"}),
        ("Michał", "cp1250", {"cp1250"}),
        ("JOÃO", "mac_roman", {"cp1252"}),
        ("Иван", "cp1251", {"cp1251"}),
    ],
)
def test_a_refusal_shows_the_lines_in_each_encoding(name: str, encoding: str, others: set[str]) -> None:
    with pytest.raises(UncertainEncodingError) as caught:
        read(sheet_of(["plain", name], encoding))
    readings = caught.value.readings
    assert {encoding, *others} <= readings.keys()
    assert any(number == 3 and name in text for number, text in readings[encoding])
    assert "line 3: " in caught.value.message
    assert name in caught.value.message
    assert "--encoding" in caught.value.hint
    assert caught.value.exit_code == 2
    assert read(sheet_of(["plain", name], encoding), encoding=encoding) == ["plain", name]


def test_a_refusal_is_short_and_holds_nothing_that_a_terminal_obeys() -> None:
    names = [f"Ay\x1b[31m\u200e{'x' * 500} Þ{number}\x9b\x85" for number in range(100)]
    with pytest.raises(UncertainEncodingError) as caught:
        read(("name,display_name\n" + "".join(f"r,{n}\n" for n in names)).encode("latin-1", "ignore"))
    assert len(caught.value.message) < 2_000
    assert all(character.isprintable() for character in caught.value.message.replace("\n", ""))


def test_what_tells_the_code_page_may_stand_far_behind() -> None:
    names = ["Gérard"] * 20_000 + ["Þahin", "Ayþe", "Iþýk"]
    with pytest.raises(UncertainEncodingError) as caught:
        read(sheet_of(names, "cp1252"))
    assert any("Ayşe" in text for _, text in caught.value.readings["cp1254"])


def test_the_outline_of_the_console_refuses_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(sheet_of(["Ayşe"], "cp1254"))
    with pytest.raises(UncertainEncodingError), open_sheet_file(path):
        pass
    with open_sheet_file(path, SheetOptions(encoding="cp1254")) as file:
        assert file.sheet_preview().sample[0][1] == "Ayşe"


# --- a row of another encoding


def mixed_sheet(names: Sequence[str], encoding: str, name: str, other: str) -> bytes:
    """A sheet whose last row is written in another encoding than the rows before it."""
    last = encoded(f"robot-last,{name},IT\r\n", other)
    assert last is not None
    return sheet_of(names, encoding) + last


@pytest.mark.parametrize(
    ("language", "encoding", "name", "other"),
    [
        ("Portuguese", "cp1252", "Mães", "utf-8"),
        ("Portuguese", "cp1252", "Avô João", "mac_roman"),
        ("Portuguese", "cp1252", "Operações", "cp850"),
        ("Swedish", "cp1252", "Växel", "mac_latin2"),
        ("German", "cp1252", "Märkischer Kreis", "cp437"),
        ("German", "cp1252", "Straßenbauamt", "cp949"),
        ("Polish", "cp1250", "Należności", "utf-8"),
        ("Czech", "cp1250", "Bohouš", "utf-8"),
        ("Hungarian", "cp1250", "Hegedűs Ernő", "mac_latin2"),
        ("Turkish", "cp1254", "Çeşme", "iso8859-2"),
        ("Lithuanian", "cp1257", "Kęstas", "cp852"),
        ("Russian", "cp1251", "Йошкар-Ола", "utf-8"),
        ("Arabic", "cp1256", "سارة", "utf-8"),
        ("Simplified Chinese", "gb18030", "总部", "utf-8"),
        ("Simplified Chinese", "gb18030", "深圳分公司", "cp950"),
        ("Simplified Chinese", "gb18030", "Kiküldetés", "cp1252"),
        ("Japanese", "cp932", "ひらがな", "utf-8"),
        ("Korean", "cp949", "급여계산로봇", "utf-8"),
        ("Korean", "cp949", "Prüfgerät", "cp852"),
    ],
)
def test_a_row_in_another_encoding_is_refused_and_shown(language: str, encoding: str, name: str, other: str) -> None:
    names = NAMES[language].names * 2
    assert right_or_refused(names, encoding, encoding)
    content = mixed_sheet(names, encoding, name, other)
    with pytest.raises(UncertainEncodingError) as caught:
        read(content, encoding)
    assert caught.value.readings[encoding][0][0] == len(names) + 2
    assert read(content, encoding=encoding)[:-1] == list(names)


def test_a_row_in_another_encoding_far_behind_is_refused() -> None:
    names = list(NAMES["French"].names) * 1_000
    with pytest.raises(UncertainEncodingError) as caught:
        read(mixed_sheet(names, "cp1252", "Contrôle", "utf-8"))
    assert caught.value.readings["cp1252"][0][0] == len(names) + 2


def test_a_sheet_of_utf8_with_a_row_of_a_code_page_is_refused() -> None:
    for row in ("Besançon", "Größe über"):
        with pytest.raises(UncertainEncodingError):
            read(mixed_sheet(NAMES["French"].names, "utf-8", row, "cp1252"))


# --- Unicode


@pytest.mark.parametrize("name", ["é", "Zoë", "ğ", "茅台", "日本", "ğı", "…", "Ё", "шеф", "Δ", "علي"])
def test_utf8_is_certain(name: str) -> None:
    assert read(f"name,display_name\nr,{name}\n".encode()) == [name]


def test_valid_utf8_that_makes_sense_only_as_gbk_is_refused() -> None:
    content = sheet_of(["茅台"], "gb18030")
    content.decode()
    with pytest.raises(UncertainEncodingError) as caught:
        read(content)
    assert {"utf-8", "gb18030"} <= caught.value.readings.keys()
    assert read(content, encoding="gb18030") == ["茅台"]


def test_valid_utf8_with_a_letter_that_no_latin_word_has_is_refused() -> None:
    content = sheet_of(["Dvořák"], "mac_latin2")
    content.decode()
    with pytest.raises(UncertainEncodingError) as caught:
        read(content)
    assert "utf-8" in caught.value.readings
    assert read(content, encoding="mac_latin2") == ["Dvořák"]
    assert read(content, encoding="utf-8") == ["Dvo\u0787k"]


@pytest.mark.parametrize(
    ("names", "encoding"),
    [
        (["GĦAWDEX"] * 70, "johab"),  # a few letters, often: Syriac among Latin ones in UTF-8
        (["ŠĶĒRSIELA"], "mac_latin2"),
        (["蘇"], "cp950"),
    ],
)
def test_valid_utf8_by_accident_is_refused_however_often_it_stands_there(names: list[str], encoding: str) -> None:
    content = sheet_of(names, encoding)
    content.decode()
    with pytest.raises(UncertainEncodingError) as caught:
        read(content)
    assert "utf-8" in caught.value.readings


@pytest.mark.parametrize(
    "name", ["Ștefania", "Țurcanu", "Ŵyn", "Tŷ Gwyn", "Ġgantija", "Əli", "ﬁ", "SAPบัญชี", "ĝardeno", "😀"]
)
def test_utf8_with_rare_letters_is_certain(name: str) -> None:
    assert read(f"name,display_name\nr,{name}\n".encode()) == [name]


def test_iso_2022_is_refused_and_can_be_given() -> None:
    content = sheet_of(["経理"], "iso2022_jp")
    with pytest.raises(SheetError, match="ISO-2022"):
        read(content)
    assert read(content, encoding="iso2022_jp") == ["経理"]


@pytest.mark.parametrize(("codec", "shown"), [("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16")])
def test_a_byte_order_mark_is_stronger_than_a_code_page_that_is_given(codec: str, shown: str) -> None:
    with pytest.raises(SheetError, match=f"byte order mark of {shown}"):
        read(sheet_of(["Zoë"], codec), encoding="cp1252")


def test_a_code_page_given_for_what_is_valid_utf8_is_obeyed_and_noted() -> None:
    options = SheetOptions(encoding="cp1252")
    with open_sheet(io.BytesIO(sheet_of(["Zoë"], "utf-8")), options) as sheet:
        assert "valid UTF-8 too" in sheet.info.notes[0]


def test_what_is_kept_of_a_text_is_bounded_and_has_every_byte() -> None:
    sample = Sample()
    letters = [bytes([first, second]) for first in range(0xC0, 0xF0) for second in range(0x61, 0x7B)]
    for first in letters:
        for second in letters[:40]:
            sample.add(first + second)
    sample.add(b"A\xfe")
    assert len(sample.words) <= 1_400
    assert b"A\xfe" in sample.words
    assert len(detect(io.BytesIO(b"\n".join(sample.words))).candidates) <= 6


def test_utf8_with_halves_of_characters_is_refused_and_not_read_in_another_encoding() -> None:
    with (
        pytest.raises(SheetError) as caught,
        open_sheet(io.BytesIO(b"name,display_name\nroby,a\xed\xa0\x80b\n"), SheetOptions(), name="s.csv"),
    ):
        pass
    assert "The text is not valid UTF-8: byte 0xED in line 2" in caught.value.message


def test_a_text_of_ascii_alone_is_not_compared_with_other_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in it could be another encoding's, and the statistics of letters take 10 ms to import."""
    compared: list[object] = []
    monkeypatch.setattr(legacy_encoding, "may_be_legacy", compared.append)
    for text in ("id,display_name\r\n1,Cafe\r\n", "id,display_name\r\n1,Café\r\n"):
        with open_sheet(io.BytesIO(text.encode()), SheetOptions()) as opened:
            assert [row.cells[1] for chunk in opened.chunks(10) for row in chunk] == [text[-6:-2]]
    assert len(compared) == 1


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_the_lines_that_show_an_uncertain_encoding_end_at_any_line_end(end: str) -> None:
    content = end.join(("name,display_name", "r,Müller Straße", "s,x", "t,Größe", "")).encode("mac_roman")
    with pytest.raises(UncertainEncodingError) as caught:
        read(content)
    assert caught.value.readings["mac_roman"] == ((2, "r,Müller Straße"), (4, "t,Größe"))
