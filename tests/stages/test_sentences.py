"""`Sentences`: the laws for every text and cut, and what is one sentence in hard texts."""

# ruff: noqa: RUF001  # the marks of many scripts are what is tested

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_runs import cut_at, given_after_each, places, run, steps

from streamkit.errors import ConfigError
from streamkit.stages.sentences import Sentences

PIECES = [
    *(".", "!", "?", "…", "。", "！", "؟", "।", "．", " ", "\n", "\r\n", "\u2029", "\t", "A", "b", "é", "3", "14", "你", "好", "ا"),
    *("The ", "U.S.", "Mr.", "No.", "etc.", "h.", "i.e.", "Oktober", '"', "“", "”", "»", "(", ")", "[1]", "["),
    *("- ", "1. ", "# ", "```\n", "```", "|", "*", "$", "😀", "👨\u200d👩\u200d👧", "🇩🇪", "e\u0301"),
]
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
bounds = st.tuples(st.integers(1, 12), st.integers(0, 60)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(texts, places, bounds)
@settings(max_examples=600, deadline=None)
def test_any_cut_gives_the_same_sentences_and_they_join_back(text: str, cuts: list[int], bound: tuple[int, int]) -> None:
    expected = run(Sentences(*bound), [text])
    assert text == "".join(expected)
    assert all(1 <= len(sentence) <= bound[1] for sentence in expected)
    for chunks in (cut_at(text, cuts), list(text)):
        assert expected == run(Sentences(*bound), chunks)


@given(st.text(), places)
def test_any_text_at_all_keeps_the_laws(text: str, cuts: list[int]) -> None:
    assert run(Sentences(), [text]) == run(Sentences(), cut_at(text, cuts))
    assert text == "".join(run(Sentences(1, 3), cut_at(text, cuts)))


@given(texts)
@settings(deadline=None)
def test_what_is_given_is_never_taken_back_by_what_follows(text: str) -> None:
    whole = run(Sentences(), [text])
    stage = Sentences()
    so_far: list[str] = []
    for char in text:
        so_far += stage.feed(char)
        assert whole[: len(so_far)] == so_far


@given(texts, st.integers(2, 20))
def test_a_sentence_has_the_least_length_but_for_the_last_and_cut_ones(text: str, least: int) -> None:
    sentences = run(Sentences(least, 4096), [text])
    assert all(len(sentence.rstrip()) >= least for sentence in sentences[:-1])


@pytest.mark.parametrize("text", ["..\n|\r\n.", "..\n|  \n."])
def test_white_space_does_not_make_a_sentence_long_enough(text: str) -> None:
    assert [text[:3], text[3:]] == run(Sentences(2, 4096), [text])


# One row, one text; `|` is where it is cut, and is not part of it.
HARD = {
    "titles": "Mr. and Mrs. Smith met Dr. No. |Prof. Li came with Gen. Wu.",
    "abbreviations inside": "Use a mark, e.g. Unicode's, i.e. Many of them vs. None, cf. Knuth. |Right.",
    "abbreviations that may end": "He lives in the U.S. |The U.S. Government is in Washington D.C. |It is old.",
    "etc": "Apples, pears, etc. |They rot. |Apples, etc. Sold here.",
    "companies": "Acme Inc. Labs paid Foo Corp. |However Ltd. Partners did not.",
    "times": "At 5 p.m. Mr. Li left. |At 6 a.m. |He was back.",
    "numbered": "See Fig. 3 and No. 5 on pp. 7. |No. |He ate a fig. |Then left.",
    "months and days": "On Mon. Jan. 5 it rained. |The cat sat. |Dogs ran.",
    "initials": "J. R. R. Tolkien and C.S. Lewis met. |Vitamin C. |The end.",
    "one-letter variables": "Solve for x. |Multiply by y. |Done.",
    "decimals and versions": "Pi is 3.14. |Use v1.2.3. |It costs $.50. |Ok.",
    "addresses": "See https://a.example/b?c=d.e&f! |Mail x.y@z.example. |Open main.py. |Bye.",
    "ellipses": "Wait... what? |Well... |She left. . . |Gone…and back… |Now.",
    "marks in a row": "What?! |No!!! |Yes... |Sure.",
    "quotes": "“Stop!” he said. |'Why?' |\"Because.\" |‘So.’ |She went.",
    "nested quotes": "He said, “She cried ‘Go!’” |Then (as if to say “no.”) |He left.",
    "lower case goes on": "She works at Yahoo! in sales (really?) and so on. |Ok.",
    "brackets": "(It rained.) |[Aside.] |Then {done.} |End.",
    "references": "It is so.[1] |It was.[2, 3] |See [4]. |Ok.",
    "markdown": "**Bold.** |_Thin._ |`code.` |*So* it is. |**Next** one.",
    "emoji": "Great!😀 |You 👨\u200d👩\u200d👧 too. |👋🏽 Hi. |🇩🇪🇫🇷 Yes.",
    "chinese": "你好。|我是小明！|真的吗？！|是的……算了，好吧。|价格是3.14元。|完",
    "chinese quotes": "“再见。”|他说。|「好！」|（完。）|然后，",
    "chinese with straight quotes": '他说："好。"|然后走了。|"来吧。"|走了。',
    "chinese with ascii marks": "你好!|我是小明.|真的吗?|是",
    "chinese marks and commas": "好！，然后。|完",
    "chinese marks in a row": "真的？...|好！…|完",
    "chinese with spaces": "他 走. |好的. |是",
    "straight quotes behind a lone one": '高5"。\n\n|"来吧。"|走',
    "a number far behind the sentence's beginning": "In" + " " * 40 + "9. |Then.",
    "japanese": "今日は。|３．１４です．|ＯＫ！|はい｡|終",
    "korean": "안녕하세요. |저는 민수입니다. |네!",
    "arabic": "مرحبا بالعالم. |كيف حالك؟ |أنا بخير!",
    "urdu": "یہ ایک جملہ ہے۔ |دوسرا۔|تیسرا",
    "hindi": "नमस्ते। |आप कैसे हैं? |मैं ठीक हूँ॥ |अंत",
    "armenian": "Բարեւ։ |Ինչպես եք։ |Լավ",
    "amharic": "ሰላም።|እንዴት ነህ፧|ደህና",
    "burmese": "မင်္ဂလာပါ။ |နေကောင်းလား။|ကောင်း",
    "khmer": "សួស្តី។ |អ្នកសុខសប្បាយ៕|បាទ",
    "greek": "Καλημέρα. |Τι κάνεις\u037e |Καλά.",
    "russian": "В 1999 г. Москва выросла, т.е. Россия тоже. |Он жил на ул. Ленина и т.д. |Это всё.",
    "german, with spaces": "Es gibt z. B. Äpfel und z. T. Birnen. |Gut.",
    "german": "Am 3. Oktober kam z.B. Herr Dr. Müller. |Er ist 20. |Ja, bzw. Nein. |„Gut.“ |Ende.",
    "french": "« Bonjour ! » |Il part. |M. Dupont aussi. |Qui ? |Lui.",
    "spanish": "¿Qué? |¡Hola! |La Sra. López vive en la pág. Web. |Fin.",
    "paragraphs": "A title\n\n|Some words\nthat wrap. |More\r\n\r\n|end",
    "paragraphs by their own mark": "One\u2029|two\u2028three",
    "a mark at a line's end": "it works.\n|lower case here\nand on, e.g.\nthis",
    "headings": "# One. |Two\n|Text here\n|## Three\n|Text.",
    "lists": "Buy:\n|- milk\n|- eggs. |Brown ones\n|* bread\n|1. First\n|2) second\n|(3) third\n|a) fourth\n|4、第四\n五",
    "not lists": "It is\n-5 degrees and\n1999. |That was\n12.5 and\n**bold** or\na word",
    "item numbers": "1. First one. |2. Second. |A. Third. |In 1999. |End.",
    "indented items": "Do:\n  |1. One. |Two.\n\t|- Three.",
    "code": "Run:\n|```python\nx = 1. A\n\nprint('Hi. There')\n```\n|Then this. |Done.",
    "code that never ends": "```\nA. B! C?\n\nD. E",
    "latex": "Let $x = 1.5$ and $f(x) = 2.$ |Then \\(a.b\\) holds: \\[ y! = 6. \\] So. |Next.",
    "space at both ends": " \n\n One.\t \n  |Two.  ",
    "only space": " \n\n ",
    "no space behind": "One.Two!Three?Four",
}


@pytest.mark.parametrize("name", HARD)
def test_hard_texts(name: str) -> None:
    expected = HARD[name].split("|")
    text = "".join(expected)
    assert expected == run(Sentences(), [text])
    assert expected == run(Sentences(), list(text))


def test_table_rows_are_one_each_but_for_marks_inside() -> None:
    assert ["| a | b |\n", "|---|---|\n", "| c | d |\n", "End"] == run(Sentences(), ["| a | b |\n|---|---|\n| c | d |\nEnd"])


# `^` follows the character with which the sentence before the space is given.
PROMPT = {
    "a capital": "One. T^wo",
    "a digit": "One. 2^",
    "a letter without case": "One. 你^",
    "an opening quote": "One. “T^wo",
    "a dash": "One. - ^x",
    "a blank line": "One\n\nt^wo",
    "a mark at a line's end": "one.\ntw^o",
    "a list item": "one\n- ^x",
    "a numbered item": "one\n12. ^x",
    "a heading's end": "# one\nt^wo",
    "a table row": "one\n|^",
    "no beginner": "It was 9. W^e",
    "a beginner, at the word's end": "the U.S. The ^end",
    "an ideographic stop": "好。你^",
    "a new quote behind one": "好。“^你",
    "a stop without case": "ठीक। आ^",
    "no more openers than that": "One. ((((((((^(a",
    "a month that it is not": "It was 9. Oka^y",
}


@pytest.mark.parametrize("name", PROMPT)
def test_a_sentence_is_given_as_soon_as_its_end_is_certain(name: str) -> None:
    before, _, behind = PROMPT[name].partition("^")
    given_at = given_after_each(Sentences(), before + behind)
    first = next(at for at, sentences in enumerate(given_at) if sentences)
    assert len(before) - 1 == first
    assert 1 == len(given_at[first])


def test_the_end_decides_what_was_uncertain() -> None:
    for text, expected in {
        "the U.S. The": ["the U.S. ", "The"],
        "the U.S. Th": ["the U.S. Th"],
        "One. “": ["One. “"],
        "one\n1.": ["one\n1."],
        "好。": ["好。"],
        "It was 9. Okt": ["It was 9. ", "Okt"],
    }.items():
        assert expected == run(Sentences(), list(text))


def test_a_failed_input_gives_the_open_sentence() -> None:
    stage = Sentences()
    assert ["One. "] == stage.feed("One. Two")
    assert ["Two"] == stage.abort()
    assert [] == stage.abort()


def test_short_sentences_join_the_next_one() -> None:
    assert ["Yes. No. Maybe so. ", "Good."] == run(Sentences(min_chars=10), ["Yes. No. Maybe so. Good."])
    assert ["好。好的好的。", "完"] == run(Sentences(min_chars=5), ["好。好的好的。完"])


def test_text_without_an_end_is_cut_at_white_space() -> None:
    assert ["aaaa ", "bbbb cc"] == run(Sentences(max_chars=8), ["aaaa bbbb cc"])
    assert ["aaaaaaaa", "aa ", "bbbbbb"] == run(Sentences(max_chars=8), ["aaaaaaaaaa bbbbbb"])
    assert ["  xxxx", "xxxx"] == run(Sentences(max_chars=6), ["  xxxxxxxx"])
    assert ["    ", "  a"] == run(Sentences(max_chars=4), ["      a"])


def test_a_mark_right_before_a_cut_still_ends_its_sentence() -> None:
    assert ["aaaa ", "bb. ", "Next"] == run(Sentences(max_chars=8), ["aaaa bb. Next"])


@pytest.mark.parametrize("character", ["👨\u200d👩\u200d👧", "👋🏽", "🇩🇪", "e\u0301\u0302"])
def test_a_forced_cut_keeps_characters_whole(character: str) -> None:
    for bound, lead in product((20, 21), range(5)):
        pieces = run(Sentences(max_chars=bound), ["x" * lead + character * 30])
        assert len(pieces) > 1
        assert all(piece.lstrip("x").replace(character, "") == "" for piece in pieces)


@pytest.mark.parametrize("unit", ["x", " ", ".", "x ", "a. ", "U.S. ", "\n- ", '"', "😀", "好。", "1.", "The", "`"])
@pytest.mark.parametrize("cut", [1, 100_000])
def test_work_grows_with_the_text_whatever_it_is_made_of(unit: str, cut: int) -> None:
    def work(count: int) -> int:
        stage = Sentences(max_chars=200)
        text = unit * count
        return steps(lambda: run(stage, [text[at : at + cut] for at in range(0, len(text), cut)]))

    assert work(800) < 2.3 * work(400) + 100


@pytest.mark.parametrize("unit", ["x", " ", ".", "U.S. x", "😀"])
def test_no_more_than_max_chars_are_held(unit: str) -> None:
    stage = Sentences(max_chars=50)
    given_chars = 0
    for fed, char in enumerate(unit * 200, 1):
        given_chars += sum(map(len, stage.feed(char)))
        assert fed - given_chars <= 50


def test_ordinary_words_are_skipped_and_not_walked() -> None:
    stage = Sentences(max_chars=200_000)
    assert steps(lambda: stage.feed("word " * 20_000)) < 100


@pytest.mark.parametrize("bound", [(0, 5), (6, 5), (-1, 5)])
def test_bounds_that_cannot_hold_are_refused(bound: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="min_chars <= max_chars"):
        Sentences(*bound)


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="numbers of characters"):
        Sentences("1")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="sentences takes text, got bytes"):
        Sentences().feed(b"a")  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize(
    "sentences",
    [
        ["»Kommer du?« spurgte han. ", "»Ja.« ", "Så gik de. ", "»Nej!« ", "»Jo!«"],
        ["»Nej.» ", "»Jo.» ", "Hon gick."],
        ["« Ah ! » dit-elle. ", "« Oh ! » ", "Puis elle sortit. ", "« Non. » ", "Fin."],
        ["«¡Ah!» dijo. ", "«Oh.» ", "Y se fue."],
    ],
)
def test_the_first_guillemet_of_a_text_says_which_one_opens(sentences: list[str]) -> None:
    assert sentences == run(Sentences(), ["".join(sentences)])


@pytest.mark.parametrize(
    "sentences",
    [
        ["hello there. ", "this is all in lower case. ", "is it? ", "yes! ", "ok"],
        ["it is, e. g., this one, i. e. that. ", "well... fine, approx. three. ", "v. 2"],
        ["he came. ", '"really?" she asked. ', "then 'no!' and off"],
        ["Yes. but it goes on. and on"],
        ["use foo.py. then run. ", "it works"],
    ],
)
def test_small_letters_begin_sentences_where_there_are_no_others(sentences: list[str]) -> None:
    assert sentences == run(Sentences(), ["".join(sentences)])
