"""The server's limits are read in each form of the RateLimit headers; malformed headers are ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from bulkid.identity.responses import read_allowance
from bulkid.model import Allowance


def read(**headers: str) -> Allowance | None:
    return read_allowance(CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}))


@pytest.mark.parametrize(
    ("headers", "allowance"),
    [
        ({"RateLimit_Limit": "160", "RateLimit_Remaining": "12", "RateLimit_Reset": "40"}, Allowance(12, 40.0)),
        ({"ratelimit_remaining": " 12 ", "RATELIMIT_RESET": "40.5"}, Allowance(12, 40.5)),
        ({"RateLimit_Remaining": "0", "RateLimit_Policy": "160;w=300"}, Allowance(0, 300.0)),
        ({"RateLimit_Remaining": "0", "RateLimit_Policy": "10;w=1, 160;w=300;comment=x"}, Allowance(0, 300.0)),
        ({"RateLimit": "limit=160, remaining=12, reset=40"}, Allowance(12, 40.0)),
        ({"RateLimit": "limit=160,remaining=12,reset=40"}, Allowance(12, 40.0)),
        ({"RateLimit": '"default";r=12;t=40'}, Allowance(12, 40.0)),
        ({"RateLimit": '"a";r=50;t=10, "b";r=12;t=40'}, Allowance(12, 40.0)),
        ({"RateLimit": '"a";r=12', "RateLimit_Policy": '"a";q=160;w=300'}, Allowance(12, 300.0)),
        ({"RateLimit": '"a";r=50;t=1', "RateLimit_Remaining": "3", "RateLimit_Reset": "9"}, Allowance(3, 9.0)),
        ({"RateLimit_Remaining": "12"}, None),
        ({"RateLimit_Reset": "12"}, None),
        ({"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "1900000000"}, None),
        ({}, None),
    ],
)
def test_what_is_left_is_read_in_each_form(headers: dict[str, str], allowance: Allowance | None) -> None:
    assert read(**headers) == allowance


@pytest.mark.parametrize("remaining", ["-1", "NaN", "1e9", "9" * 10, "", "twelve", "١٢", "0x10", "1.5"])
@pytest.mark.parametrize("reset", ["40", "-1", "NaN", "Infinity", "1e400", "9" * 40, "soon", "٤٠"])
def test_junk_says_nothing(remaining: str, reset: str) -> None:
    assert read(RateLimit_Remaining=remaining, RateLimit_Reset=reset) is None
    assert read(RateLimit=f"limit=1, remaining={remaining}, reset={reset}") is None
    if reset != "40":
        assert read(RateLimit_Remaining="5", RateLimit_Reset=reset) is None


PARTS = st.sampled_from(
    ['"a"', "limit", "remaining", "reset", "r", "t", "w", "q", *";,= .-05", "1e9", "9" * 10, "\0", "٤"]
)


@given(
    st.dictionaries(
        st.sampled_from(["RateLimit", "RateLimit_Remaining", "RateLimit_Reset", "RateLimit_Policy"]),
        st.text(max_size=20) | st.lists(PARTS, max_size=12).map("".join),
    )
)
def test_nothing_that_a_header_can_hold_is_an_error(headers: dict[str, str]) -> None:
    found = read(**headers)
    assert found is None or (0 <= found.remaining < 10**9 and 0 <= found.reset_s < 10**9)
