"""Secrets in recordings: masked in place, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.clients.masking import WINDOW, Masker, masked

KEY = "sk-proj-Abc123def456GHI789"
SECRETS = {
    "a key": (f"use {KEY} now", KEY[3:]),
    "a bearer token": ("Authorization: Bearer abc.DEF-123_456=", "abc.DEF-123_456="),
    "basic credentials": ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    "a header": ("x-api-key: 0123456789abcdef\r\n", "0123456789abcdef"),
    "a JSON field": ('{"api_key": "hunter2hunter2"}', "hunter2hunter2"),
    "camel case": ('{"apiKey":"hunter2hunter2"}', "hunter2hunter2"),
    "JSON inside of JSON": ('{"arguments":"{\\"api_key\\": \\"hunter2hunter2\\"}"}', "hunter2hunter2"),
    "a query": ("https://host/path?api-key=hunter2hunter2&x=1", "hunter2hunter2"),
    "an environment": ("OPENAI_API_KEY=hunter2hunter2\n", "hunter2hunter2"),
    "a token of a forge": ("ghp_0123456789abcdefABCDEF", "0123456789abcdefABCDEF"),
    "a cloud's key": ("id AKIAIOSFODNN7EXAMPLE.", "IOSFODNN7EXAMPLE"),
    "a password": ("password=hunter2;", "hunter2;"),
    "a very long one": ("Bearer " + "x1" * 500 + " end", "x1" * 500),
}

HARMLESS = [
    "The bearer of bad news, a basic understanding of risk-taking.",
    '{"token":" Hello","logprob":-0.1,"signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3h"}',
    '{"id":"chatcmpl-9f8e7d6c5b4a39281706","object":"chat.completion.chunk"}',
    "disk-based-storage task-manager-window 日本語",
    "",
]


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS)
def test_a_secret_is_masked_in_place_wherever_it_is_cut(text: str, secret: str) -> None:
    expected = text.replace(secret, "*" * len(secret))
    assert expected == masked(text)
    for at in range(len(text) + 1):
        masker = Masker()
        assert expected == masker.feed(text[:at]) + masker.feed(text[at:]) + masker.flush()
    masker = Masker()
    assert expected == "".join(masker.feed(char) for char in text) + masker.flush()


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert text == masked(text)


PIECES = st.sampled_from(
    ["sk-", "Bearer ", "bearer", "basic ", "api_key", "password", "authorization", ": ", ":", '"', "\\", "=", " ", "\n", "a1b2c3",
     "0123456789abcd", "-", "_", ".", "ya29.", "AKIA", "gsk_", "hf_", "é", "{", "}", ",", "x" * 50, "\t"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=14).map("".join), st.lists(st.integers(0, 400), max_size=8))
def test_any_cut_gives_the_same_and_holds_little(text: str, cuts: list[int]) -> None:
    masker = Masker()
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    given_so_far = 0
    out: list[str] = []
    for a, b in pairwise(borders):
        out.append(masker.feed(text[a:b]))
        given_so_far += len(out[-1])
        assert b - given_so_far <= WINDOW
    out.append(masker.flush())
    assert masked(text) == "".join(out)
    assert len(text) == len("".join(out))
    assert all(was == now or now == "*" for was, now in zip(text, "".join(out), strict=True))


def test_a_line_that_ended_is_not_held_back() -> None:
    frame = 'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    assert frame == Masker().feed(frame)


def test_hostile_text_takes_time_in_proportion() -> None:
    masker = Masker()
    for piece in (
        "a" * 100_000,
        " " * 100_000,
        '"' * 100_000,
        "\\" * 100_000,
        "sk-" * 30_000,
        "bearer " * 15_000,
        "api_key:" * 12_000,
    ):
        assert len(masker.feed(piece)) <= len(piece) + WINDOW
