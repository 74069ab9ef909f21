"""`streamkit.wire.utf8`: any cut of any bytes gives the text of the whole."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from streamkit.wire.utf8 import Decoder

# One byte of each kind that the decoding table tells apart.
KINDS = bytes([0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF])
pieces = st.lists(
    st.binary(max_size=6) | st.text(max_size=3).map(str.encode) | st.sampled_from([b"\xf0\x9f", b"\x98\x80", b"\xed\xa0"])
)


@given(pieces)
def test_any_pieces_give_the_text_of_the_whole(chunks: list[bytes]) -> None:
    decoder = Decoder()
    text = "".join([decoder.feed(chunk) for chunk in chunks]) + decoder.flush()
    assert b"".join(chunks).decode("utf-8", "replace") == text


def test_every_run_of_four_bytes_gives_the_same_text_byte_by_byte() -> None:
    for run in product(KINDS, repeat=4):
        whole = bytes(run)
        decoder = Decoder()
        text = "".join([decoder.feed(whole[at : at + 1]) for at in range(4)])
        assert decoder.pending <= 3
        assert whole.decode("utf-8", "replace") == text + decoder.flush(), whole


def test_a_character_is_held_until_its_last_byte() -> None:
    decoder = Decoder()
    assert ["a", "", "", "😀b"] == [decoder.feed(chunk) for chunk in (b"a\xf0", b"\x9f", b"\x98", b"\x80b")]
    assert (0, "") == (decoder.pending, decoder.flush())


def test_flush_replaces_what_was_cut_off_once_and_starts_anew() -> None:
    decoder = Decoder()
    decoder.feed(b"\xe4\xbd")
    assert 2 == decoder.pending
    assert [decoder.flush(), decoder.flush()] == ["\ufffd", ""]
    assert "é" == decoder.feed("é".encode())


def test_a_byte_order_mark_is_a_character() -> None:
    assert "\ufeffa" == Decoder().feed(b"\xef\xbb\xbfa")
