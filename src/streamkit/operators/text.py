"""Token processors as operators: from characters to paragraphs, stop, strip ...; and `on_text`, which lifts them over events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamkit.events.model import Event
from streamkit.flow.plan import Op, Same, Step, call_label, check_count, unless
from streamkit.stages.counting import CountTokens, TokenCounter
from streamkit.stages.graphemes import Characters
from streamkit.stages.lifting import OnText, Texts
from streamkit.stages.lines import Lines
from streamkit.stages.normalizing import Form, Normalize
from streamkit.stages.paragraphs import Paragraphs
from streamkit.stages.printable import Printable
from streamkit.stages.sentences import Sentences
from streamkit.stages.stopping import Stop
from streamkit.stages.tagging import SplitTags
from streamkit.stages.whitespace import Strip
from streamkit.stages.words import Words

__all__ = [
    "characters",
    "chunks",
    "count_tokens",
    "lines",
    "normalize",
    "on_text",
    "paragraphs",
    "printable",
    "sentences",
    "stop",
    "strip",
    "texts",
    "words",
]


def characters(*, max_chars: int = 256) -> Op[str, str]:
    """Cut text into what a reader sees as single characters.

    A letter with its accents, an emoji of several parts, a flag, a Hangul syllable, CRLF: each is one (Unicode's UAX #29,
    extended grapheme clusters).

    Args:
        max_chars: The longest one, in code points; one with more marks is cut.

    Yields:
        Characters whose concatenation is the text, each as soon as the next one shows that it is whole. How the text was
        cut before changes nothing.

    Memory: one character.
    Cancellation: the last character is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: max_chars that does not fit, at the call.

    >>> run((stream(["ab", "\\u0308c"]) | characters()).collect())
    ['a', 'b̈', 'c']
    """
    Characters(max_chars)
    return Op(Step("stage", call_label("characters", max_chars=unless(256, max_chars)), lambda: Characters(max_chars)))


def words(*, max_chars: int = 1024) -> Op[str, str]:
    """Cut text into words, white space staying with the word behind it.

    In scripts that are written without spaces (Chinese, Japanese, Thai ...) each character is a word.

    Args:
        max_chars: A longer word is cut, in code points, between two characters.

    Yields:
        Words whose concatenation is the text, each as soon as its end is certain: when white space follows. How the text
        was cut before changes nothing.

    Memory: `max_chars` code points.
    Cancellation: the open word is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: max_chars that does not fit, at the call.

    >>> run((stream(["To b", "e, or 不是"]) | words()).collect())
    ['To', ' be,', ' or', ' 不', '是']
    """
    Words(1, max_chars)
    return Op(Step("stage", call_label("words", max_chars=unless(1024, max_chars)), lambda: Words(1, max_chars)))


def chunks(min_chars: int, *, max_chars: int = 4096) -> Op[str, str]:
    """Gather text to pieces of whole words, of some length at least.

    Args:
        min_chars: A piece ends at the first end of a word by which it is so long, in code points; `words` says what a word is.
        max_chars: The longest piece, in code points. One long word is cut, between two characters.

    Yields:
        Pieces whose concatenation is the text, each as soon as its end is certain; the last may be shorter. How the text
        was cut before changes nothing.

    Memory: `max_chars` code points.
    Cancellation: the open piece is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: not 1 <= min_chars <= max_chars, at the call.

    >>> run((stream(["To b", "e, or not", " to be"]) | chunks(6)).collect())
    ['To be,', ' or not', ' to be']
    """
    Words(min_chars, max_chars)
    label = call_label("chunks", min_chars, max_chars=unless(4096, max_chars))
    return Op(Step("stage", label, lambda: Words(min_chars, max_chars)))


def paragraphs(*, max_chars: int = 65_536) -> Op[str, str]:
    """Cut text into paragraphs, which blank lines separate.

    Args:
        max_chars: A longer paragraph is cut, at a line end or else at white space if there is any.

    Yields:
        Paragraphs without the blank lines around them, each as soon as a blank line behind it has ended. How the text was
        cut before changes nothing.

    Memory: two times `max_chars` characters.
    Cancellation: the open paragraph is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: max_chars that does not fit, at the call.

    >>> run((stream(["One.\\nTwo.\\n", "\\n\\nThree."]) | paragraphs()).collect())
    ['One.\\nTwo.', 'Three.']
    """
    Paragraphs(max_chars)
    return Op(Step("stage", call_label("paragraphs", max_chars=unless(65_536, max_chars)), lambda: Paragraphs(max_chars)))


def strip(chars: str | None = None, *, max_chars: int = 65_536) -> Op[str, str]:
    """Take white space away at the beginning and at the end of the whole text.

    Args:
        chars: The characters to take away; None means white space, as in `str.strip`.
        max_chars: Most white space that is held back inside the text. A longer run is passed on, even at the end.

    Yields:
        The text between. Only white space waits, for what follows it. How the text was cut before changes nothing.

    Memory: `max_chars` characters.
    Cancellation: what is held back is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: no characters, or a max_chars that does not fit, at the call.

    >>> run((stream(["\\n ", " Hello ", "you \\n"]) | strip()).join())
    'Hello you'
    """
    Strip(chars, max_chars)
    return Op(Step("stage", call_label("strip", chars, max_chars=unless(65_536, max_chars)), lambda: Strip(chars, max_chars)))


def normalize(form: Form | None = "NFC", *, newlines: str | None = None) -> Op[str, str]:
    """Make text well-formed: whole characters, one form of accents, and if wanted one kind of line end.

    Halves of a character are joined, also across pieces, and are U+FFFD where they are alone; a byte order mark at the
    beginning goes; then the text is brought to a normal form (Unicode's UAX #15).

    Args:
        form: "NFC", or "NFKC", which also resolves ligatures, widths and the like; None leaves accents as they are.
        newlines: What LF, CRLF and CR become; None leaves them as they are.

    Yields:
        The text. Held back is only what a following mark could still change: the last letter. How the text was cut before
        changes nothing.

    Memory: one character with its marks, at most 256 of them.
    Cancellation: what is held back is dropped; the source is closed.
    Raises:
        ConfigError: another form, or newlines that are no line end, at the call.

    >>> run((stream(["Cafe", "\\u0301 \\ud83d", "\\ude00\\r\\n"]) | normalize(newlines="\\n")).join())
    'Café 😀\\n'
    """
    Normalize(form, newlines)
    return Op(Step("stage", call_label("normalize", unless("NFC", form), newlines=newlines), lambda: Normalize(form, newlines)))


def count_tokens(counter: TokenCounter) -> Op[str, str]:
    """Count the tokens of a text that goes by.

    Args:
        counter: Where they are added up: `counter.total`, at any time. It holds the tokenizer; without one it estimates,
            a quarter of the UTF-8 bytes.

    Yields:
        The text as it came. A tokenizer is given runs of whole words, so how the text was cut changes nothing, and what is
        still open is estimated meanwhile; a tokenizer that would join words counts a little less over the whole text.

    Memory: at most 1,024 characters with a tokenizer, two numbers without.
    Cancellation: what went by stays counted; the source is closed.
    Raises:
        TypeError: no TokenCounter, at the call; a tokenizer that gives no number, while it runs. What a tokenizer raises
            is passed on.

    >>> counter = TokenCounter(lambda text: len(text.split()))
    >>> run((stream(["Hello w", "orld. Bye."]) | count_tokens(counter)).join()), counter.total
    ('Hello world. Bye.', 3)
    """
    CountTokens(counter)
    return Op(Step("stage", "count_tokens()", lambda: CountTokens(counter)))


def lines(*, keep_ends: bool = False, max_chars: int = 1_048_576) -> Op[str, str]:
    """Cut text into lines.

    Args:
        keep_ends: Whether a line keeps its LF, CRLF or CR.
        max_chars: Longest line, in characters.

    Yields:
        Each line as soon as its end is known; the last one, without an end, when the text ends. How
        the text was cut before changes nothing.

    Memory: one line.
    Cancellation: an open line is dropped; the source is closed.
    Raises:
        ConfigError: max_chars below 1, at the call.
        RemoteProtocolError: a line longer than max_chars, behind the lines before it.

    >>> run((stream(["a\\nb", "c\\n"]) | lines()).collect())
    ['a', 'bc']
    """
    Lines(keep_ends, max_chars)
    label = call_label("lines", keep_ends=unless(False, keep_ends), max_chars=unless(1_048_576, max_chars))
    return Op(Step("stage", label, lambda: Lines(keep_ends, max_chars)))


def sentences(*, min_chars: int = 1, max_chars: int = 4096) -> Op[str, str]:
    """Cut text into sentences, white space staying with the sentence before it.

    Args:
        min_chars: A shorter sentence is given together with the next.
        max_chars: A longer one is cut, at white space if there is any.

    Yields:
        Sentences whose concatenation is the text, each as soon as its end is certain. How the text
        was cut before changes nothing.

    Memory: `max_chars` characters.
    Cancellation: an open sentence is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: lengths that do not fit, at the call.

    >>> run((stream(["Mr. Smith ", "came. He", " left."]) | sentences()).collect())
    ['Mr. Smith came. ', 'He left.']
    """
    Sentences(min_chars, max_chars)
    label = call_label("sentences", min_chars=unless(1, min_chars), max_chars=unless(4096, max_chars))
    return Op(Step("stage", label, lambda: Sentences(min_chars, max_chars)))


def stop(sequences: Iterable[str]) -> Op[str, str]:
    """End the text at the first of some sequences, which is not given.

    Args:
        sequences: The texts to stop at, none of them empty.

    Yields:
        The text before it. Only what may be the beginning of a sequence is held back. How the text
        was cut before changes nothing.

    Memory: the longest sequence.
    Cancellation: what is held back is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: no sequence, an empty one, or one str instead of a list, at the call.

    >>> run((stream(["Hello E", "ND of it"]) | stop(["END"])).join())
    'Hello '
    """
    given = sequences if isinstance(sequences, str) else list(sequences)
    Stop(given)  # what is no list of str is refused here
    return Op(Step("stage", call_label("stop", given), lambda: Stop(given)))


def printable() -> Op[str, str]:
    r"""Take out of a text what would command a terminal.

    Yields:
        The text without escape sequences (CSI, OSC with all they hold ...), control characters but newline and tab,
        and characters that turn its direction. How the text was cut before changes nothing.

    Memory: one small number; no text is held back.
    Cancellation: the source is closed.

    >>> run((stream(["red: \x1b[3", "1mno\n"]) | printable()).join())
    'red: no\n'
    """
    return Op(Step("stage", "printable()", Printable))


def texts(*, choice: int | None = 0) -> Op[Event, str]:
    """The text of events, for processors of text that need nothing else.

    Args:
        choice: Of which answer; None takes the text of all.

    Yields:
        The text of each `TextDelta`. Reasoning, tool calls and all other events are dropped: see `on_text` for keeping them.

    Memory: nothing.
    Cancellation: the source is closed.
    Raises:
        TypeError: a choice that is no int, at the call; an item that is no event, when it comes.

    >>> answer = stream([Start(), TextDelta("One. T"), TextDelta("wo."), Finish()])
    >>> run((answer | texts() | sentences()).collect())
    ['One. ', 'Two.']
    """
    if choice is not None:
        check_count("texts", "choice", choice, 0)
    return Op(Step("stage", call_label("texts", choice=unless(0, choice)), lambda: Texts(choice)))


def on_text(op: Op[str, str] | Op[str, Event] | Same) -> Op[Event, Event]:
    """Let token processors work on the text of events.

    Args:
        op: One stage operator, or several joined with `|`. The last may give events of text, as `split_tags` does.

    Yields:
        The events; text deltas as the stages give them. Each content block has stages of its own,
        flushed at its end and before any control event but Ping and Usage. A stage that is done
        (`stop`) ends its answer with `Finish("stop")`.

    Memory: the stages' own, per content block.
    Cancellation: what is held back is dropped; the source is closed.
    Raises:
        TypeError: an operator that is no stage (`map`, `buffer` ...), or `split_tags` before the last one, at the call.

    >>> answer = stream([TextDelta("One. T"), TextDelta("wo."), Finish()])
    >>> run((answer | on_text(sentences())).map(lambda event: getattr(event, "text", event.type)).collect())
    ['One. ', 'Two.', 'finish']
    """
    parts = op.parts if isinstance(op, Op | Same) else None  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
    if parts is None:
        raise TypeError(f"on_text() takes operators made of stages, such as sk.sentences(), got {type(op).__name__}")
    factories: list[Any] = []
    for part in parts:
        if not isinstance(part, Step) or part.kind != "stage":
            raise TypeError(f"on_text() lifts stages only, and {part.label} is none: use it on the events themselves")
        factories.append(part.argument)
    OnText(factories)  # makes one of each: a maker of something else is said here
    if any(isinstance(make(), SplitTags) for make in factories[:-1]):
        raise TypeError("on_text(): split_tags() gives events: put what gives events last, and an on_text of its own behind it")
    return Op(Step("stage", f"on_text({op!r})", lambda: OnText(factories)))
