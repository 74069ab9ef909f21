"""Resume tokens: what `format_token` gives is read back; anything else is refused, whatever it is."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamkit.errors import InvalidToken
from streamkit.hub.tokens import FIRST_EPOCH_BITS, first_epoch, format_token, parse_token


@given(st.integers(0, (1 << 48) - 1), st.integers(0, 10**15 - 1))
@example((1 << 48) - 1, 10**15 - 1)
@example(0, 0)
def test_what_is_given_is_read_back(epoch: int, offset: int) -> None:
    token = format_token(epoch, offset)
    assert (epoch, offset) == parse_token(token)
    assert token.isascii()
    assert len(token) <= 28
    assert not set(token) - set("0123456789abcdef.")


FORGED = [
    *["", ".", "a.", ".1", "1", "a.-1", "-a.1", "a.+1", "a.1.", "a..1", "a.1.1", "a. 1", " a.1", "a.1 ", "a.1\n", "\na.1"],
    *["a.1\r\nx: y", "A.1", "0xa.1", "g.1", "a.01", "a.1e3", "a.0x1", "a.1_0", "a.1\0", "a,1", "null", "undefined", "NaN.NaN"],
    *["a.\u0661", "a.\uff11", "\u0430.1"],  # digits of other scripts, and a letter that looks like an a
    *["a.1000000000000000", "1000000000000.1", "a.99999999999999999999999999", "%61.1", "a%2e1", "a.1;b.2", "${a}.1", "../a.1"],
]


@pytest.mark.parametrize("token", FORGED)
def test_what_no_stream_ever_gave_is_refused_as_malformed(token: str) -> None:
    with pytest.raises(InvalidToken, match="start without one") as caught:
        parse_token(token)
    assert "malformed" == caught.value.reason


@pytest.mark.parametrize("token", [None, 5, b"a.1", ("a", 1), 1.5, True, ["a.1"]])
def test_what_is_no_text_is_refused_as_malformed(token: Any) -> None:
    with pytest.raises(InvalidToken):
        parse_token(token)


def test_a_megabyte_is_refused_without_being_read() -> None:
    for token in ("1" * 1_000_000, "a." + "1" * 1_000_000, "a" * 1_000_000 + ".1"):
        begun = time.perf_counter()
        for _ in range(1000):
            with pytest.raises(InvalidToken) as caught:
                parse_token(token)
        assert time.perf_counter() - begun < 1.0  # reading them would take seconds
        assert len(str(caught.value)) < 200


@given(st.text())
@example("a.1")
def test_any_text_is_a_token_or_refused_and_its_refusal_does_not_quote_it(text: str) -> None:
    try:
        epoch, offset = parse_token(text)
    except InvalidToken as error:
        assert error.reason == "malformed"
        assert str(error) == "this is no resume token: start without one, from the beginning"
    else:
        assert format_token(epoch, offset) == text.lstrip("0") or text.startswith("0")


def test_first_epochs_are_drawn_from_a_wide_range_and_fit_a_token_with_all_that_follow() -> None:
    drawn = [first_epoch() for _ in range(2000)]
    assert 2000 == len(set(drawn))
    assert min(drawn) > 0
    assert max(drawn) > 1 << (FIRST_EPOCH_BITS - 3)
    largest = (1 << FIRST_EPOCH_BITS) + 1_000_000
    assert (largest, 1) == parse_token(format_token(largest, 1))
