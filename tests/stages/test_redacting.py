"""`Redact`: never a part of a secret, at any cut; numbers that only look like one pass."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from stage_runs import cut_at, places, run, steps

from streamkit.errors import ConfigError
from streamkit.stages.matching import first_of
from streamkit.stages.redacting import KINDS, Redact

ALL = list(KINDS)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

# Made up, or the examples that issuers and standards print. `X` is where something was taken out.
CASES = {
    "my card 4111 1111 1111 1111.": "my card X.",
    "4111-1111-1111-1111": "X",
    "4111111111111111": "X",
    "378282246310005": "X",
    "3782 822463 10005 ok": "X ok",
    "30569309025904": "X",
    "4222222222222": "X",
    "6011 0009 9013 9424, 5555 5555 5555 4444": "X, X",
    "4111\u00a01111\u00a01111\u00a01111": "X",
    "4111\u20111111\u20111111\u20111111": "X",
    "卡号4111111111111111。谢谢": "卡号X。谢谢",
    "💳4111 1111 1111 1111💳": "💳X💳",
    "\uff14\uff11\uff11\uff11 1111 1111 1111": "X",
    "12 4111 1111 1111 1111": "12 X",
    "4111 1111 1111 1111 12/27": "X 12/27",
    "4111 1111 1111 1112": "4111 1111 1111 1112",
    "00000000000000000000": "00000000000000000000",
    "0000 0000 0000 0000": "0000 0000 0000 0000",
    "1234567890123456789012345678901234567890123456": "1234567890123456789012345678901234567890123456",
    "4111  1111  1111  1111": "4111  1111  1111  1111",
    "in 1999 and 2024": "in 1999 and 2024",
    "pi is 3.14159265358979": "pi is 3.14159265358979",
    "write to a.b+c@mail.example.com!": "write to X!",
    "请联系foo@bar.com谢谢": "请联系X谢谢",
    "<a@b.co>, \u201cc@d.org\u201d": "<X>, \u201cX\u201d",
    "a@b and @c and d@": "a@b and @c and d@",
    "a@b.c": "a@b.c",
    "user@host.example.": "X.",
    "e\u0301a@b.co": "e\u0301X",
    "DE89 3704 0044 0532 0130 00 is mine": "X is mine",
    "gb29nwbk60161331926819": "X",
    "FR14 2004 1010 0505 0001 3M02 606": "X",
    "GB29 NWBK 6016 1331 9268 18": "GB29 NWBK 6016 1331 9268 18",
    "AB12": "AB12",
    "at 10.0.0.1:8080": "at X:8080",
    "255.255.255.255.": "X.",
    "256.1.1.1 and 1.2.3 and 1.2.3.4.5": "256.1.1.1 and 1.2.3 and 1.2.3.4.5",
    "key sk-proj-abcdefghijklmnop_0123456789 end": "key X end",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789, ok": "X, ok",
    "AKIAIOSFODNN7EXAMPLE ok": "X ok",
    "Authorization: Bearer abcdefghijklmnop": "Authorization: X",
    f"token={JWT}\n": "token=X\n",
    "sk-short and task-force-one-two-three": "sk-short and task-force-one-two-three",
    "bearer of bad news": "bearer of bad news",
    "basic internationalization": "basic internationalization",
    "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==": "X",
    "call +49 170 1234567 now": "call X now",
    "(555) 123-4567 or 555.123.4567": "X or X",
    "555-1234": "555-1234",
    "ssn 123-45-6789.": "ssn X.",
    "000-12-3456 and 123-00-4567": "000-12-3456 and 123-00-4567",
    "": "",
}


@pytest.mark.parametrize("text", CASES, ids=lambda text: text[:40])
def test_a_hard_text_is_redacted_as_written_at_every_cut(text: str) -> None:
    assert len(CASES) >= 40
    for chunks in ([text], list(text), *(cut_at(text, [at, at + 4]) for at in range(len(text)))):
        assert CASES[text] == "".join(run(Redact(ALL, "X"), chunks))


cards = st.sampled_from(["4111111111111111", "378282246310005", "30569309025904", "6011000990139424", "4222222222222"])
words = st.text(alphabet="ab .,\n想", max_size=12)


@given(cards, words, words, st.sampled_from(["", " ", "-"]), st.lists(st.integers(1, 40), min_size=7, max_size=7), st.booleans())
@settings(max_examples=200)
def test_op_14_a_card_number_in_eight_tokens_is_never_given_in_part(
    card: str, before: str, behind: str, separator: str, cuts: list[int], fails: bool
) -> None:
    written = separator.join(card[at : at + 4] for at in range(0, len(card), 4))
    text = before + written + behind
    stage = Redact(["card"], "\x00")
    out: list[str] = []
    for chunk in cut_at(text, cuts):
        out += stage.feed(chunk)
        # Not a digit of it, at any time.
        assert not re.search(r"\d", "".join(out))
    out += stage.abort() if fails else stage.flush()
    assert not re.search(r"\d", "".join(out))
    if not fails:
        assert f"{before}\x00{behind}" == "".join(out)


SECRETS = [
    *(
        "4111 1111 1111 1111",
        "someone@mail.example.com",
        "DE89370400440532013000",
        "192.168.10.20",
        "+49 170 1234567",
        "123-45-6789",
    ),
    *("sk-abcdefghijklmnopqrstuvwxyz", "ghp_abcdefghijklmnop0123", "Bearer abcdefgh.ijklmnop-qrst", "AKIAIOSFODNN7EXAMPLE", JWT),
]


@pytest.mark.parametrize("secret", SECRETS)
def test_op_14_a_source_that_fails_inside_of_a_secret_gives_none_of_it(secret: str) -> None:
    for end in range(1, len(secret) + 1):
        for chunks in (list(secret[:end]), [secret[:end]]):
            stage = Redact(ALL, "")
            out = [piece for chunk in ["so: ", *chunks] for piece in stage.feed(chunk)]
            assert "so: " == "".join([*out, *stage.abort()])
            assert () == stage.flush()


@given(st.lists(st.sampled_from([*SECRETS, *"a1 .@-\n", "4111", "想"]), max_size=8).map("".join), places)
@settings(max_examples=200)
def test_any_cut_gives_the_same(text: str, cuts: list[int]) -> None:
    meant = "".join(run(Redact(ALL), [text]))
    assert meant == "".join(run(Redact(ALL), cut_at(text, cuts)))
    assert meant == "".join(run(Redact(ALL), list(text)))


@given(st.text(alphabet="0123456789 -", max_size=60))
@settings(max_examples=300)
def test_no_group_of_digits_that_is_a_card_number_remains(text: str) -> None:
    left = "".join(run(Redact(["card"], "x"), list(text)))
    for found in re.finditer(r"(?<![\d])(?<!\d[ -])\d(?:[ -]?\d){12,18}(?![ -]?\d)", left):
        digits = [int(digit) for digit in re.sub(r"\D", "", found[0])]
        total = sum(digits[-1::-2]) + sum(sum(divmod(digit * 2, 10)) for digit in digits[-2::-2])
        assert total % 10 or not any(digits)


@given(st.text(alphabet="ab1 .", max_size=30))
def test_a_pattern_of_ones_own_gives_what_re_gives(text: str) -> None:
    pattern = re.compile(r"\b[ab]+1+")
    assume("." in text)
    assert pattern.sub("", text) == "".join(run(Redact([pattern], ""), list(text)))


def test_a_long_key_is_replaced_once_and_dropped_to_its_end() -> None:
    stage = Redact(["key"])
    assert ("[redacted]",) == stage.feed("sk-" + "a" * 13)
    assert [] == [piece for _ in range(1000) for piece in stage.feed("b" * 1000)]
    assert "" == stage._held
    assert (" , ok",) == stage.feed("c , ok")


def test_the_first_pattern_that_matches_at_a_place_counts_and_one_whose_check_fails_does_not() -> None:
    number = re.compile(r"\d{4} \d{4} \d{4} \d{4}")
    assert "x" == "".join(run(Redact(["card", number], "x"), list("4111 1111 1111 1111")))
    assert "x." == "".join(run(Redact(["card", number], "x"), list("4111 1111 1111 1112.")))
    assert "x." == "".join(run(Redact(["iban", "card", number], "x"), ["4111 1111 1111 1112."]))


def test_flags_of_a_pattern_are_its_own() -> None:
    patterns = [re.compile("secret", re.IGNORECASE), re.compile("^Key.$", re.MULTILINE | re.DOTALL), re.compile("(?P<a>x)(y)")]
    assert "#\n#\nkey1\n#" == "".join(run(Redact(patterns, "#"), list("SeCrEt\nKey1\nkey1\nxy")))


def test_a_text_that_holds_no_beginning_passes_as_the_same_object() -> None:
    chunk = "".join(["plain ", "text"])
    assert chunk is Redact(["card", "ssn"]).feed(chunk)[0]


def test_no_more_is_held_back_than_is_said() -> None:
    said = {"card": 76, "email": 593, "iban": 65, "ipv4": 17, "key": 43, "phone": 45, "ssn": 15}
    assert said == {name: first_of((kind.pattern,), 256, False).longest for name, kind in KINDS.items()}
    for text in ["1 " * 200, "a" * 2000, "a@" + "b." * 900, "DE89" + " A" * 200, "+1" + ".( 1" * 99]:
        stage = Redact(ALL)
        for char in text:
            list(stage.feed(char))
            assert len(stage._held) <= max(said.values())


@pytest.mark.parametrize("text", ["1", "1 ", "a", "a@b.", "DE89 A", "+1 ", "sk-", "1.", "4111 1111 1111 1111 "])
@pytest.mark.parametrize("cut", [4, 100_000])
def test_work_grows_with_the_text_even_on_the_worst_of_texts(text: str, cut: int) -> None:
    def work(length: int) -> int:
        stage = Redact(ALL)
        whole = (text * length)[:length]
        return steps(lambda: run(stage, [whole[at : at + cut] for at in range(0, length, cut)]))

    assert work(4000) <= 2.3 * work(2000)


def test_a_saved_stage_leaks_nothing() -> None:
    one, other = Redact(ALL), Redact(ALL)
    assert ("a ",) == one.feed("a 4111 1111 ")
    other.restore(one.snapshot())
    assert "[redacted]!" == "".join(run(other, ["1111 1111!"]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Redact([]), ConfigError, "at least one of card, email"),
        (lambda: Redact(["cart"]), ConfigError, "none of card, email"),
        (lambda: Redact([re.compile("a*")]), ConfigError, "empty text"),
        (lambda: Redact([re.compile("(a+)+")]), ConfigError, "exponential time"),
        (lambda: Redact([re.compile(r"(a)\1")]), ConfigError, "a group of its own"),
        (lambda: Redact([re.compile(b"a")]), TypeError, "patterns of str"),  # type: ignore[arg-type]  # the mistake under test
        (lambda: Redact([3]), TypeError, "got 3"),  # type: ignore[list-item]  # the mistake under test
        (lambda: Redact(["card"], None), TypeError, "takes a str, got NoneType"),  # type: ignore[arg-type]  # the mistake under test
        (lambda: Redact(["card"], max_repeat=0), ConfigError, "max_repeat=0"),
        (lambda: Redact(["card"]).feed(b"a"), TypeError, "redact takes text, got bytes"),  # type: ignore[arg-type]  # the mistake under test
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
