"""Token processors as operators: lines, sentences, stop, printable, and `on_text`, which lifts them over events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamkit.events.model import Event
from streamkit.flow.plan import Op, Same, Step
from streamkit.stages.lifting import OnText
from streamkit.stages.lines import Lines
from streamkit.stages.printable import Printable
from streamkit.stages.sentences import Sentences
from streamkit.stages.stopping import Stop

__all__ = ["lines", "on_text", "printable", "sentences", "stop"]


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
    return Op(Step("stage", "lines()", lambda: Lines(keep_ends, max_chars)))


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
    return Op(Step("stage", "sentences()", lambda: Sentences(min_chars, max_chars)))


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
    return Op(Step("stage", f"stop({len(given)} sequences)" if len(given) > 1 else "stop()", lambda: Stop(given)))


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


def on_text(op: Op[str, str] | Same) -> Op[Event, Event]:
    """Let token processors work on the text of events.

    Args:
        op: One stage operator, or several joined with `|`.

    Yields:
        The events; text deltas as the stages give them. Each content block has stages of its own,
        flushed at its end and before any control event but Ping and Usage. A stage that is done
        (`stop`) ends its answer with `Finish("stop")`.

    Memory: the stages' own, per content block.
    Cancellation: what is held back is dropped; the source is closed.
    Raises:
        TypeError: an operator that is no stage (`map`, `buffer` ...), at the call.

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
    return Op(Step("stage", f"on_text({op!r})", lambda: OnText(factories)))
