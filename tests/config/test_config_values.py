"""The values that each kind of setting accepts and refuses."""

import copy
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.config import parse as v
from bulkid.config.parse import InvalidValueError, Secret
from bulkid.model import ChangeBound, FailureBound, QuotaRule


@pytest.mark.parametrize(
    ("parse", "raw", "value"),
    [
        (v.flag, "1", True),
        (v.flag, "Yes", True),
        (v.flag, " on ", True),
        (v.flag, "TRUE", True),
        (v.flag, True, True),
        (v.flag, 1, True),
        (v.flag, "0", False),
        (v.flag, "no", False),
        (v.flag, "off", False),
        (v.flag, "false", False),
        (v.flag, False, False),
        (v.integer(1, 256), "1", 1),
        (v.integer(1, 256), " 256 ", 256),
        (v.integer(1, 256), 16, 16),
        (v.number(0.5, 10), "0.5", 0.5),
        (v.number(0.5, 10), 10, 10.0),
        (v.choice("auto", "accounts"), " Auto ", "auto"),
        (v.text, "  acme  ", "acme"),
        (v.text, 2024, "2024"),
        (v.verbatim, " Data ", " Data "),
        (v.url, " https://cloud.uipath.com/acme ", "https://cloud.uipath.com/acme"),
        (v.url, "cloud.uipath.com/acme", "cloud.uipath.com/acme"),
        (v.url, "HTTP://localhost:8080/identity", "HTTP://localhost:8080/identity"),
        (v.encoding, "UTF8", "utf-8"),
        (v.encoding, "latin-1", "iso8859-1"),
        (v.encoding, "Shift_JIS", "shift_jis"),
        (v.delimiter, "tab", "\t"),
        (v.delimiter, "TAB", "\t"),
        (v.delimiter, "\\t", "\t"),
        (v.delimiter, "\t", "\t"),
        (v.delimiter, ";", ";"),
        (v.delimiter, "pipe", "|"),
        (v.delimiter, " ", " "),
        (v.verbosity, True, 1),
        (v.verbosity, "yes", 1),
        (v.verbosity, "2", 2),
        (v.verbosity, 3, 2),
        (v.verbosity, "off", 0),
        (v.bound(FailureBound), "0", FailureBound(count=0)),
        (v.bound(FailureBound), 7, FailureBound(count=7)),
        (v.bound(FailureBound), " 5% ", FailureBound(percent=5.0)),
        (v.bound(FailureBound), "0.5 %", FailureBound(percent=0.5)),
        (v.bound(FailureBound), "100%", FailureBound(percent=100.0)),
        (v.bound(ChangeBound), "200", ChangeBound(count=200)),
        (v.bound(ChangeBound), "0.5 %", ChangeBound(percent=0.5)),
        (v.names, "Cost centre; Note ;;Note", ("Cost centre", "Note")),
        (v.names, ["a;b", "c"], ("a;b", "c")),
        (v.host_names, "bulkid.example.com; 10.0.0.7;Host.", ("bulkid.example.com", "10.0.0.7", "Host.")),
        (v.host_names, ["b\u00fccher.example", "2001:db8::1"], ("xn--bcher-kva.example", "2001:db8::1")),
        (v.formats, "xlsx,JSONL;xlsx", ("xlsx", "jsonl")),
        (v.formats, ["csv", "xlsx,jsonl"], ("csv", "xlsx", "jsonl")),
        (v.column_map, "Robot = name; A=B=Display_Name", {"Robot": "name", "A=B": "display_name"}),
        (v.column_map, ["x;y=name"], {"x;y": "name"}),
        (v.column_map, {"Robot": "Name"}, {"Robot": "name"}),
        (v.quota, "PUT=20/5", (QuotaRule("PUT", 20, 5.0),)),
        (v.quota, "put = 160 / 300;GET=300/0.5", (QuotaRule("PUT", 160, 300.0), QuotaRule("GET", 300, 0.5))),
        (v.quota, ["Post=1/86400"], (QuotaRule("POST", 1, 86400.0),)),
        (v.quota, "delete=160/300", (QuotaRule("DELETE", 160, 300.0),)),
        (v.quota, "None", ()),
        (v.quota, ["none"], ()),
        (v.secret, "hush hush\r\n", Secret("hush hush")),
        (v.secret, Secret("hush"), Secret("hush")),
        (v.token, " 1234\n", Secret("1234")),
    ],
)
def test_a_value_is_taken_in_every_form_that_users_write(parse: v.Parse, raw: object, value: object) -> None:
    assert parse(raw) == value


@pytest.mark.parametrize(
    ("parse", "raw", "problem"),
    [
        (v.flag, "maybe", "neither yes nor no"),
        (v.note, "x" * 201, "has 201 characters"),
        (v.note, "a\nb", "control characters"),
        (v.note, " ", "is empty"),
        (v.flag, 2, "neither yes nor no"),
        (v.flag, [], "neither yes nor no"),
        (v.integer(1, 256), "0", "out of range"),
        (v.integer(1, 256), "257", "out of range"),
        (v.integer(1, 256), "-1", "out of range"),
        (v.integer(1, 256), "1_0", "whole number"),
        (v.integer(1, 256), "\uff11\uff16", "whole number"),
        (v.integer(1, 256), "16.0", "whole number"),
        (v.integer(1, 256), 16.0, "whole number"),
        (v.integer(1, 256), True, "whole number"),
        (v.integer(1, 256), "9" * 5000, "whole number"),
        (v.number(0.5, 10), "0,5", "not a number"),
        (v.number(0.5, 10), "1e1", "not a number"),
        (v.number(0.5, 10), "nan", "not a number"),
        (v.number(0.5, 10), float("nan"), "out of range"),
        (v.number(0.5, 10), float("inf"), "out of range"),
        (v.number(0.5, 10), "0.49", "out of range"),
        (v.number(0.5, 10), "10.01", "out of range"),
        (v.number(0, 10), True, "not a number"),
        (v.choice("auto"), "automatic", "not a valid value"),
        (v.choice("auto"), 1, "not a valid value"),
        (v.text, "  ", "empty"),
        (v.text, "a\nb", "control characters"),
        (v.text, "a\udc80", "broken text"),
        (v.text, True, "not text"),
        (v.text, 1.5, "not text"),
        (v.path, "a\0b", "control characters"),
        (v.path, "~nobody-of-this-name/x", "home directory"),
        (v.url, "", "not an address"),
        (v.url, 5, "not an address"),
        (v.url, "https://a b", "not an address"),
        (v.url, "ftp://host", "does not begin with https"),
        (v.url, "https://", "names no host"),
        (v.url, "https:///identity", "names no host"),
        (v.encoding, "klingon", "no text encoding"),
        (v.encoding, "hex", "no text encoding"),
        (v.encoding, "x" * 500, "no text encoding"),
        (v.delimiter, "ab", "cannot separate"),
        (v.delimiter, "x", "cannot separate"),
        (v.delimiter, '"', "cannot separate"),
        (v.delimiter, "\n", "cannot separate"),
        (v.delimiter, "\uff1b", "cannot separate"),
        (v.delimiter, 1, "cannot separate"),
        (v.bound(FailureBound), "-1", "out of range"),
        (v.bound(ChangeBound), "-1", "out of range"),
        (v.bound(ChangeBound), "100.1%", "out of range"),
        (v.bound(ChangeBound), "half", "whole number"),
        (v.bound(FailureBound), "101%", "out of range"),
        (v.bound(FailureBound), "%", "not a number"),
        (v.bound(FailureBound), "few", "whole number"),
        (v.bound(FailureBound), 0.05, "whole number"),
        (v.names, 5, "neither text nor a list"),
        (v.names, [""], "empty"),
        *(
            (v.host_names, name, "not a host name")
            for name in ("https://x", "x:8443", "x/y", "a b", "b\u00fc..x", "*.x")
        ),
        (v.formats, "pdf", "not a valid value"),
        (v.formats, [""], "not a valid value"),  # of an option
        (v.column_map, "Robot", "Column=field"),
        (v.column_map, "=name", "Column=field"),
        (v.column_map, "Robot=", "Column=field"),
        (v.column_map, "Robot=name;Robot=groups", "mapped twice"),
        (v.column_map, {"Robot": 1.5}, "not text"),
        (v.quota, "", "empty"),
        (v.quota, [], "empty"),
        (v.quota, "PUT=160/5m", "METHOD=COUNT/SECONDS"),
        (v.quota, "PUT=1.5/5", "METHOD=COUNT/SECONDS"),
        (v.quota, "PUT=-1/5", "METHOD=COUNT/SECONDS"),
        (v.quota, "PUT 160 300", "METHOD=COUNT/SECONDS"),
        (v.quota, "PTU=160/300", "does not send"),
        (v.quota, "PUT=0/300", "out of range"),
        (v.quota, "PUT=1/0", "out of range"),
        (v.quota, "PUT=1/86401", "out of range"),
        (v.quota, "none;PUT=1/1", "METHOD=COUNT/SECONDS"),
        (v.quota, "PUT=1/1;put=2/2", "two rules for one method"),
        (v.quota, 5, "neither text nor a list"),
        (v.quota, [5], "neither text nor a list"),
        (v.secret, "\n", "empty"),
        (v.secret, 1234, "not text"),
        (v.secret, "a\nb", "control characters"),
        (v.token, "Bearer abc", "Bearer"),
        (v.token, "abc def", "no access token"),
        (v.token, "pässword", "no access token"),
        (v.token, " ", "no access token"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_what_is_wrong(parse: v.Parse, raw: object, problem: str) -> None:
    with pytest.raises(InvalidValueError, match=problem):
        parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "https://admin:hunter2@host/identity",
        "https://admin:hunter2/@host",
        "ftp://admin:hunter2@host",
        "admin:hunter2@host",
        "http:/a:hunter2@h",
    ],
)
def test_the_password_in_an_address_is_never_repeated(raw: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        v.url(raw)
    assert "hunter2" not in caught.value.shown + caught.value.problem


def test_a_long_or_nested_value_is_shown_short_and_closed() -> None:
    assert len(v.show("x" * 1000)) < 80
    assert v.show({"token": "hush"}) == "a table"
    assert v.show(["hush"]) == "a list"
    assert v.show(Secret("hush")) == "a Secret"
    assert v.show("a\nb") == r"'a\nb'"


def test_a_home_directory_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert v.path("~/state") == tmp_path / "state"


@pytest.mark.parametrize("written", ["./~", "./~root/state", "a/~"])
def test_a_file_that_begins_with_a_tilde_is_no_home_directory(written: str) -> None:
    assert v.path(written) == Path(written)


@given(
    st.dictionaries(
        st.sampled_from(["GET", "POST", "PUT"]),
        st.tuples(st.integers(1, 10**9 - 1), st.integers(1, 86_400)),
        min_size=1,
    )
)
def test_a_quota_is_read_as_it_is_written(rules: dict[str, tuple[int, int]]) -> None:
    written = ";".join(f"{method.lower()}={count}/{seconds}" for method, (count, seconds) in rules.items())
    assert v.quota(written) == tuple(QuotaRule(method, *figures) for method, figures in rules.items())


@dataclass(frozen=True)
class Holder:
    secret: Secret


def test_a_secret_shows_itself_to_no_user_who_does_not_ask_for_it() -> None:
    secret = Secret("hush-hush")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        repr(Holder(secret)),
        str([secret]),
        "%(x)s" % {"x": secret},  # noqa: UP031 - the old form is one more way to show a value
    ]
    assert not any("hush" in text for text in shown)
    assert secret.reveal() == "hush-hush"
    with pytest.raises(TypeError, match="not written"):
        pickle.dumps(secret)


def test_a_secret_survives_copies_and_compares_by_what_it_holds() -> None:
    secret = Secret("a")
    assert copy.copy(secret) == copy.deepcopy(secret) == asdict(Holder(secret))["secret"] == Secret("a")
    assert secret != Secret("b")
    assert secret != "a"
    assert len({secret, Secret("a")}) == 1
