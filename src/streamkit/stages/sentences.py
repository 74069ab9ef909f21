"""Text cut into sentences while it is written, in any script, without a model or a dictionary.

What holds for every text:

* The sentences join back to the text: the white space behind a sentence belongs to it, and leading
  white space to the first one.
* They do not depend on how the text was cut into chunks. The rules below read characters in order;
  each decision is a function of the text up to one character, and is taken at that character.
* A sentence is given as soon as that is so: in "One. Two" at the T, since "One. two" goes on; after
  "U.S." and the like at the end of the next word at the latest; in "你好。你" at the second 你.

The states, and who moves them:

    TEXT    inside a sentence. A mark goes to MARK, a line end to SPACE.
    MARK    in a run of marks, closing quotes and brackets, emoji, and references like [1]. White space goes
            to SPACE; anything else decides at once (marks of scripts without spaces end the sentence, others do not).
    SPACE   in the white space behind. The first other character goes to AHEAD.
    AHEAD   a few characters kept aside until `_verdict` knows; then the sentence ends before them or goes
            on, and they are read again in TEXT. At most some 20 characters, once.

What ends a sentence:

* `.` `!` `?` and ellipses, before white space, unless the word before is an abbreviation, an initial, or the number of
  a list item or of a German day, or a lower-case letter (but for `code`) follows on the same line; that counts only if the
  text has had a capital, or the mark is an ellipsis or stands in quotes. So 3.14, v1.2.3, addresses and file names need no rule.
* The full stops of other scripts, with or without white space.
* A blank line; the end of a heading, table row or fenced code block; a line that begins a list item, heading, row or fence.
  Inside a fence nothing ends, as code is not made of sentences.
* `max_chars` without any of these: then at the last white space, or inside a word, never inside an
  emoji or between a letter and its accents.

Rules without grammar are wrong sometimes ("I saw Dr. No. He ..."); they are wrong the same way every time.
"""

# ruff: noqa: RUF001  # look-alike marks of many scripts are what this file is about

from __future__ import annotations

import re
import unicodedata
from enum import Enum, auto
from typing import final

from streamkit.errors import ConfigError
from streamkit.stages.stage import Stage, not_text

__all__ = ["Sentences"]

# Unicode's Sentence_Terminal marks outside ASCII: none of them occurs inside a word or a number.
_WIDE = (
    "\u037e\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104b\u1362\u1367\u1368\u166e"
    "\u1735\u1736\u17d4\u17d5\u1803\u1809\u1944\u1945\u1aa8-\u1aab\u1b5a\u1b5b\u1b5e\u1b5f\u1c3b\u1c3c\u1c7e\u1c7f"
    "\u203c\u203d\u2047-\u2049\u2e2e\u2e3c\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9"
    "\uaa5d-\uaa5f\uaaf0\uaaf1\uabeb\ufe52\ufe56\ufe57\uff01\uff0e\uff1f\uff61"
)
_NARROW = ".!?\u2026\u22ef"
_LINE_ENDS = "\n\u2028\u2029"
_STOPPER = re.compile(f"[{_NARROW}{_WIDE}{_LINE_ENDS}]")
_LINE_END = re.compile(f"[{_LINE_ENDS}]")
_MARKS = re.compile(f"[{_NARROW}{_WIDE}]")
_WIDE_MARK = re.compile(f"[{_WIDE}]")

_EMOJI = "\u200d\ufe0e\ufe0f\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\U000e0020-\U000e007f"
_CLOSER = re.compile(rf"[\"'’”›»)\]}}」』）】》〉〕］｝*_~`${_EMOJI}]")
_LATE_CLOSER = re.compile("[›»)\\]}」』）】》〉〕］｝]")  # also closes behind a space, as in French
_GUILLEMET = re.compile("[«»]")  # «French», »Danish and German«, »Swedish»: the first one of a text opens
_QUOTES = "\"'’”›»“‘«"
_OPENING_QUOTES = "“‘«„"  # German closes with “, so behind a mark of a script with spaces these close
_GOES_ON = re.compile("[,;:，、；：]")
_REFERENCE = re.compile(r"[\d,;–^ -]")
_WIDE_LETTERS = "\u2e80"  # from here on scripts write without spaces

# Openers that may stand before a sentence's first letter; some of them, no more.
_OPENERS = re.compile(r"[^\w\s]{0,8}")
_OPENERS_MOST = 8
_OPERATORS = "=<>+*/&|^%~"  # with a space behind: "x! = 6"
_LATEX_CLOSERS = ("\\]", "\\)")
_WORD = re.compile(r"[^\W\d_]*")

# The beginnings of lines that stand for themselves, and those that may still become one.
_BLOCK = re.compile(r"(?:[-*+•‣◦–—]|\(?\d{1,3}[.)]|\(?[A-Za-z]\)|#{1,6})\s|\d{1,3}、|[（(]\d{1,3}）|`{3}|~{3}|\|")
_BLOCK_BEGUN = re.compile(r"(?:[-*+•‣◦–—]|\(?\d{0,3}|\(?\d{1,3}[.)]|\(?[A-Za-z]\)?|（\d{0,3}|#{1,6}|`{1,2}|~{1,2})")

_HEADING = re.compile(r"#{1,6}\s")
_ITEM_NUMBER = re.compile(rf"(?:^|[{_LINE_ENDS}])[ \t>*_#-]*\(?(?:\d{{1,3}}|[A-Za-z])$")
_WORD_BEFORE = re.compile(r"[^\s(\[{\"'“‘«„*_/—–]+$")
_LOOK_BACK = 32


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Never the end: a name, a number or an example follows. The titles with a capital only ("5 ms. The", "one rep. Then").
_TITLES = _words(
    "Mr Mrs Ms Mx Messrs Dr Drs Prof Rev Hon Gen Col Maj Capt Cmdr Lt Sgt Cpl Adm Gov Sen Rep Pres Supt Det Insp Mt "
    "Sra Srta Dra Ud Uds Vd Vds Mlle Mme Mgr Hr Sig Dott Avv Ing Dhr Mevr"
)
_NEVER = _words(
    "mr mrs dr prof vs cf viz approx e.g i.e eg ie resp pág p.ej núm bzw evtl ggf inkl nr vgl z z.b d.h u.a gest on.le bijv "
    "ул им стр рис см т.е напр проф акад гл"
)
# Before a number only.
_NUMBERED = _words("no nos fig figs eq eqs sec secs ch chap vol vols p pp par art tab abs app ex n num op cap bd kap")
# The end only if the next word usually begins a sentence.
_PERHAPS = _words(
    "st ft v ca sr hr str geb tel etc inc ltd co corp bros llc plc jr al ph.d m.d b.a m.a b.sc m.sc d.c b.c a.d b.c.e c.e a.m p.m "
    "u.s u.s.a u.k u.n e.u est dept univ assn ave blvd rd usw ecc enz mio mrd г гг тыс млн млрд др пр т.д т.п"
)
# The same, written with a capital: "sat" and "mar" are words.
_DATES = _words("Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thur Thurs Fri Sat Sun")
_BEGINNERS = _words(
    "A An After Also Although And Are As At Because Before But By Can Did Do Does Each Finally For From Had Has Have He Her "
    "Here His How However I If In Instead Is It Its Just Let Many Meanwhile Most My Next No Not Now On Once One Or Our "
    "Please She Should Since So Some Such That The Their Then There Therefore These They This Those Though To Today Two Under "
    "Until We Were What When Where Whether Which While Who Why Will With Would Yes Yet You Your "
    "Der Die Das Ein Eine Er Sie Es Wir Ich Und Aber Auch Dann Le La Les Il Elle Nous Vous El Los Las Un Una "
    "Он Она Оно Они Это Но Мы Вы Однако После При"
)
_GERMAN_MONTHS = _words("Januar Jänner Februar März April Mai Juni Juli August September Oktober November Dezember Jahrhundert")
_BEGINNERS_BEGUN = frozenset(word[:end] for word in _BEGINNERS for end in range(1, len(word) + 1))
_GERMAN_MONTHS_BEGUN = frozenset(word[:end] for word in _GERMAN_MONTHS for end in range(1, len(word) + 1))
_INITIALS = re.compile(r"(?:[^\W\d_][.-])*[^\W\d_]")


class _State(Enum):
    TEXT = auto()
    MARK = auto()
    SPACE = auto()
    AHEAD = auto()


class _Kind(Enum):
    """What stands before the place where a sentence may end."""

    LINE = auto()  # no mark, a line end
    PLAIN = auto()
    WIDE = auto()
    NEVER = auto()
    NUMBERED = auto()
    PERHAPS = auto()
    ORDINAL = auto()


@final
class Sentences(Stage[str, str]):
    """Chunks of text to sentences that join back to the text.

    Args:
        min_chars: A shorter sentence, its white space not counted, is not ended: the next one joins it.
        max_chars: The longest output. Text without any end is cut there.

    Memory: at most `max_chars` characters. Time is linear in the text.

    >>> sentences = Sentences()
    >>> [*sentences.feed("Dr. No paid 3.5 mio. He sm")], [*sentences.feed("iled. Th")], [*sentences.flush()]
    (['Dr. No paid 3.5 mio. '], ['He smiled. '], ['Th'])
    """

    state = (
        *("_parts", "_length", "_ink", "_line_head", "_fenced", "_quoted"),
        *("_state", "_kind", "_run", "_referring", "_long_enough", "_line_ends", "_block_ended", "_ahead"),
        *("_capital", "_bare", "_opens_with"),
    )

    def __init__(self, min_chars: int = 1, max_chars: int = 4096) -> None:
        """Raises ConfigError if not 1 <= min_chars <= max_chars."""
        if min_chars.__class__ is not int or max_chars.__class__ is not int:
            raise TypeError(f"min_chars and max_chars are numbers of characters, got {min_chars!r} and {max_chars!r}")
        if not 1 <= min_chars <= max_chars:
            raise ConfigError(f"1 <= min_chars <= max_chars must hold, got min_chars={min_chars}, max_chars={max_chars}")
        self._min = min_chars
        self._max = max_chars
        self._out: list[str] = []
        # The open sentence.
        self._parts: list[str] = []
        self._length = 0
        self._ink = False  # whether it has anything but white space
        # The line that is open, its block, and whether a straight quote is.
        self._line_head = ""
        self._fenced = False
        self._quoted = False
        # What the text so far shows of its writer: a capital letter, and which guillemet opens a quotation.
        self._capital = False
        self._opens_with = ""
        # The place where the sentence may end.
        self._state = _State.TEXT
        self._kind = _Kind.LINE
        self._run = ""  # the first two characters of a run of marks: one dot alone is looked at closer
        self._bare = False  # whether a small letter may begin the next one: there are no others
        self._referring = False
        self._long_enough = False
        self._line_ends = 0
        self._block_ended = False
        self._ahead = ""

    def feed(self, item: str) -> list[str]:
        """The sentences whose end is certain now."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("sentences", item)
        # Most tokens: nothing in them may end a sentence.
        if (
            self._state is _State.TEXT
            and not self._fenced
            and len(item) <= self._max - self._length
            and _STOPPER.search(item) is None
        ):
            if item:
                self._take(item)
            return []
        self._scan(item)
        return self._given()

    def flush(self) -> list[str]:
        """The open sentence, as two if an end in it was still uncertain."""
        if self._ahead:
            self._resolve(self._verdict(self._ahead, final=True) is True)
        self._end()
        self._state = _State.TEXT
        return self._given()

    def snapshot(self) -> dict[str, object]:
        """All that it has learned so far, as plain values of its own."""
        return super().snapshot() | {"_state": self._state.value, "_kind": self._kind.value}

    def restore(self, saved: dict[str, object]) -> None:
        """Go on where another one, made in the same way, was saved."""
        super().restore(saved)
        self._state, self._kind = _State(saved["_state"]), _Kind(saved["_kind"])

    def _given(self) -> list[str]:
        if not self._out:
            return []
        out, self._out = self._out, []
        return out

    # Reading.

    def _scan(self, text: str) -> None:
        at, end = 0, len(text)
        while at < end:
            room = self._max - self._length - len(self._ahead)
            if room <= 0:
                self._cut(text[at])
                continue
            match self._state:
                case _State.TEXT:
                    at = self._text(text, at, min(end, at + room))
                case _State.MARK:
                    at += self._mark(text[at])
                case _State.SPACE:
                    at += self._space(text[at])
                case _State.AHEAD:
                    at += 1
                    self._look(self._ahead + text[at - 1])

    def _text(self, text: str, at: int, end: int) -> int:
        """Read up to and with the next mark or line end; give the place behind it."""
        found = (_LINE_END if self._fenced else _STOPPER).search(text, at, end)
        if found is None:
            self._take(text[at:end])
            return end
        mark = found[0]
        if found.start() > at:
            self._take(text[at : found.start()])
        if mark in _LINE_ENDS:
            self._kind = _Kind.LINE
            self._enter_space(mark)
        else:
            self._kind = self._kind_of(mark)
            self._run = mark
            self._bare = not self._capital and self._ends_word(mark)
            self._referring = False
            self._state = _State.MARK
            self._take(mark)
        return found.end()

    def _mark(self, char: str) -> bool:
        """One character behind a mark; whether it was read."""
        if self._referring:
            self._referring = char != "]"
            if not self._referring or _REFERENCE.match(char):
                self._take(char)
                return True
            self._state = _State.TEXT
            return False
        if _MARKS.match(char):
            self._run = (self._run + char)[:2]
            if self._kind is not _Kind.WIDE:
                self._kind = _Kind.WIDE if _WIDE_MARK.match(char) else _Kind.PLAIN
        elif char.isspace():
            self._enter_space(char)
            return True
        elif char == "[" and self._kind is not _Kind.WIDE:
            self._referring = True
        elif not self._closes(char):
            self._decide_before(char)
            return False
        elif char in _QUOTES:
            self._bare = False  # “really?” she asked
        self._take(char)
        return True

    def _closes(self, char: str) -> bool:
        if char in _OPENING_QUOTES:
            return self._kind is not _Kind.WIDE
        if char == '"' and self._kind is _Kind.WIDE:
            return self._quoted
        return _CLOSER.match(char) is not None

    def _closes_late(self, char: str) -> bool:
        """Whether it closes behind a space; what opened the first quotation of the text does not."""
        return _LATE_CLOSER.match(char) is not None and (char != "»" or self._opens_with == "«")

    def _ends_word(self, mark: str) -> bool:
        """Whether what stands before a mark is a word of some length: "e. g." is none."""
        found = _WORD_BEFORE.search(self._back()) if mark == "." else None
        return mark != "." or (found is not None and len(found[0]) > 2 and found[0].isalpha())

    def _decide_before(self, char: str) -> None:
        """A letter or the like right behind a mark."""
        self._state = _State.TEXT
        if self._kind is _Kind.WIDE:
            decimal = self._run == "\uff0e" and char.isdecimal()
            ends = not decimal and _GOES_ON.match(char) is None
        else:
            # Chinese with ASCII marks: no space there either.
            ends = self._run in ("!", "?", ".") and self._wide_before() and char >= _WIDE_LETTERS and char.isalpha()
        if ends and self._length - self._white_behind() >= self._min:
            self._end()

    def _wide_before(self) -> bool:
        before = self._back().rstrip(_NARROW)
        return before[-1:] >= _WIDE_LETTERS and before[-1:].isalpha()

    def _enter_space(self, char: str) -> None:
        self._long_enough = self._ink and self._length - self._white_behind() >= self._min
        self._line_ends = 0
        self._block_ended = False
        self._state = _State.SPACE
        self._space(char)

    def _white_behind(self) -> int:
        """How many characters of white space the open sentence ends in, as far as is looked back."""
        back = self._back()
        return len(back) - len(back.rstrip())

    def _space(self, char: str) -> bool:
        """One character behind the white space has begun; whether it was read."""
        if char.isspace():
            self._take(char)
            if char in _LINE_ENDS:
                self._line_ends += 2 if char == "\u2029" else 1
                if self._line_ends > 1:
                    self._quoted = False
                if self._end_line():
                    self._state = _State.TEXT
            return True
        if not self._line_ends and self._kind is not _Kind.LINE and (_MARKS.match(char) or self._closes_late(char)):
            self._state = _State.MARK
            return False
        self._state = _State.AHEAD
        self._look(char)
        return True

    def _end_line(self) -> bool:
        """What the line that ended was; whether the next one is code."""
        head, self._line_head = self._line_head.lstrip(), ""
        if head.startswith(("```", "~~~")):
            self._fenced = not self._fenced
            self._block_ended = not self._fenced
        elif not self._fenced and (head.startswith("|") or _HEADING.match(head)):
            self._block_ended = True
        return self._fenced

    def _look(self, ahead: str) -> None:
        verdict = self._verdict(ahead, final=False)
        self._ahead = ahead
        if verdict is not None:
            self._resolve(verdict)

    def _resolve(self, ends: bool) -> None:
        ahead, self._ahead = self._ahead, ""
        self._state = _State.TEXT
        if ends:
            self._end()
        self._scan(ahead)

    # Deciding.

    def _kind_of(self, mark: str) -> _Kind:
        """What a mark may end, by the word before it."""
        if mark != ".":
            return _Kind.WIDE if _WIDE_MARK.match(mark) else _Kind.PLAIN
        back = self._back()
        # Where the sentence is longer than what is looked at, the first of that must not pass for a line's first.
        begin = "" if len(back) == self._length else "."
        if _ITEM_NUMBER.search(begin + back):
            return _Kind.NEVER
        found = _WORD_BEFORE.search(back)
        if found is None:
            return _Kind.PLAIN
        word = found[0]
        folded = word.casefold()
        if folded in _NEVER or word in _TITLES:
            return _Kind.NEVER
        if folded in _NUMBERED:
            return _Kind.NUMBERED
        if folded in _PERHAPS or word in _DATES:
            return _Kind.PERHAPS
        if _INITIALS.fullmatch(word):
            # "x." is no initial, and letters of scripts without spaces are words.
            return _Kind.PLAIN if word[-1] >= _WIDE_LETTERS or "a" <= word <= "z" else _Kind.PERHAPS
        return _Kind.ORDINAL if len(word) <= 2 and word.isdecimal() else _Kind.PLAIN

    def _verdict(self, ahead: str, *, final: bool) -> bool | None:
        """Whether the sentence ends before `ahead`; None if that takes more characters."""
        if not self._long_enough:
            return False
        if self._line_ends:
            if self._line_ends > 1 or self._block_ended:
                return True
            block = _begins_block(ahead, final)
            if block is not False:
                return block
        if self._kind is _Kind.LINE or self._kind is _Kind.NEVER:
            return False
        if self._kind is _Kind.WIDE:
            return True
        openers = _OPENERS.match(ahead)
        begin = openers.end() if openers else 0
        if begin == len(ahead):
            return True if begin >= _OPENERS_MOST else False if final else None
        first = ahead[begin]
        if (first.isspace() and ahead[0] in _OPERATORS) or ahead.startswith(_LATEX_CLOSERS):
            return False
        if first.islower() and "`" not in ahead[:begin]:
            return self._kind is _Kind.PLAIN and (self._line_ends > 0 or (self._bare and len(self._run) == 1))
        if self._kind is _Kind.NUMBERED:
            return not first.isdecimal()
        if self._kind is _Kind.PERHAPS:
            return _is_word(ahead, begin, _BEGINNERS, _BEGINNERS_BEGUN, final) if first.isalpha() else not first.isdecimal()
        if self._kind is _Kind.ORDINAL:
            month = _is_word(ahead, begin, _GERMAN_MONTHS, _GERMAN_MONTHS_BEGUN, final)
            return None if month is None else not month
        return True

    # The open sentence.

    def _take(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
        if not self._ink and not text.isspace():
            self._ink = True
        if not self._capital and text != text.lower():
            self._capital = True
        if not self._opens_with and not text.isascii():
            found = _GUILLEMET.search(text)
            self._opens_with = found[0] if found else ""
        if len(self._line_head) < 12:
            self._line_head += text[:12]
        if '"' in text:
            self._quoted ^= text.count('"') & 1 == 1
        # Single characters are dear as list entries: join now and then, at growing distances.
        if len(self._parts) > 64 and len(self._parts) * 16 > self._length:
            self._parts = ["".join(self._parts)]

    def _back(self) -> str:
        """The last characters of the open sentence."""
        return "".join([part[-_LOOK_BACK:] for part in self._parts[-_LOOK_BACK:]])[-_LOOK_BACK:]

    def _end(self) -> None:
        """Give the open sentence."""
        if self._parts:
            self._out.append("".join(self._parts))
            self._parts.clear()
        self._length = 0
        self._ink = False

    def _cut(self, following: str) -> None:
        """The sentence is full, and `following` comes: decide what is open, or cut it."""
        if self._ahead:
            self._resolve(self._verdict(self._ahead, final=True) is True)
            return
        text = "".join(self._parts)
        place = len(text) if text[-1].isspace() else len(text) - len(text.rsplit(None, 1)[-1])
        if not place or (place < len(text) and text[:place].isspace()):
            place = _whole(text + following)
        self._parts = [text[:place]]
        self._end()
        rest = text[place:]
        if self._state is not _State.MARK or not rest:
            self._state = _State.TEXT
        if rest:
            self._parts = [rest]
            self._length = len(rest)
            self._ink = True


def _begins_block(ahead: str, final: bool) -> bool | None:
    """Whether a line that begins like this is a list item, heading, table row or fence."""
    if _BLOCK.match(ahead):
        return True
    return None if not final and _BLOCK_BEGUN.fullmatch(ahead) else False


def _is_word(ahead: str, begin: int, words: frozenset[str], begun: frozenset[str], final: bool) -> bool | None:
    """Whether the word that begins there is one of `words`, said as early as their first letters allow."""
    found = _WORD.match(ahead, begin)
    word = found[0] if found else ""
    if final or begin + len(word) < len(ahead):
        return word in words
    return None if word in begun else False


_WHOLE_MOST = 32


def _whole(text: str) -> int:
    """The last place before the last character that is no inner place of an emoji or an accented letter."""
    last = len(text) - 1
    for place in range(last, max(last - _WHOLE_MOST, 0), -1):
        if not _joined(text, place):
            return place
    return last


def _joined(text: str, place: int) -> bool:
    """Whether the characters on the two sides of a place are shown as one."""
    before, behind = text[place - 1], text[place]
    if before == "\u200d" or behind == "\u200d" or "\U0001f3fb" <= behind <= "\U0001f3ff" or unicodedata.category(behind)[0] == "M":
        return True
    if not ("\U0001f1e6" <= before <= "\U0001f1ff" and "\U0001f1e6" <= behind <= "\U0001f1ff"):
        return False
    # Flags are pairs: an odd number of letters before the place means one of them is open.
    flags = 0
    while flags < _WHOLE_MOST and flags < place and "\U0001f1e6" <= text[place - 1 - flags] <= "\U0001f1ff":
        flags += 1
    return flags & 1 == 1
