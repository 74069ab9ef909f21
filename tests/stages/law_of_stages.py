"""The law of stages, as checks that any of them can be held to.

What comes out of a stage depends on its text and on nothing else: not on how the text was cut on its way, nor on
whether the stage was saved and taken up again; and it comes out as early as it can.

    segments_alike     a stage that cuts text itself gives equal lists for any cut of its input
    pieces_alike       one that passes text on gives equal outputs, once neighbours of one channel are joined
    snapshots_alike    saved and taken up anywhere, it gives what it would have given, and so does the one that was saved
    given_alike        what is out before the end of the text depends on no cut either: nothing waits for the next chunk
    emits_early        nothing is held back that no continuation could change
    holds_at_most      nor is more held back than is said

Each of them raises AssertionError with the text as far as it was read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, Final, TypeAlias

import msgspec

from streamkit.errors import RemoteProtocolError
from streamkit.stages.stage import Stage

__all__ = [
    "Channel",
    "Failed",
    "Maker",
    "cuts_of",
    "emits_early",
    "given_alike",
    "holds_at_most",
    "joined",
    "outputs",
    "pieces_alike",
    "segments_alike",
    "snapshots_alike",
    "text_channel",
]

Maker: TypeAlias = Callable[[], Stage[str, Any]]

# What an item belongs to, and its text; None for an item that stays by itself.
Channel: TypeAlias = Callable[[Any], tuple[Hashable, str | None]]

_POSITIONS: Final = 25
_PLAIN: Final = (type(None), bool, int, float, str, bytes)


def text_channel(item: object) -> tuple[Hashable, str | None]:
    """A stage from text to text has one channel."""
    return ("text", item) if isinstance(item, str) else (None, None)


def joined(items: Iterable[Any], channel: Channel = text_channel) -> list[Any]:
    """Neighbours of one channel joined: a list of (key, text), and of items that stay by themselves."""
    runs: list[tuple[Any, list[str] | None]] = []
    for item in items:
        key, text = channel(item)
        if text is None:
            runs.append((item, None))
        elif text and runs and runs[-1][1] is not None and runs[-1][0] == key:
            runs[-1][1].append(text)
        elif text:
            runs.append((key, [text]))
    return [key if texts is None else (key, "".join(texts)) for key, texts in runs]


def cuts_of(text: str, random_ones: int = 4) -> list[list[str]]:
    """The text whole, in characters, and cut at places that are the same each time; with empty chunks between."""
    cuts = [[text], list(text)]
    places = random.Random(text.encode("utf-8", "surrogatepass"))
    for _ in range(random_ones):
        count = places.randint(1, 2 + len(text) // 6)
        edges = [0, *sorted(places.randint(0, len(text)) for _ in range(count)), len(text)]
        cuts.append([text[begin:end] for begin, end in pairwise(edges)])
    return cuts


def segments_alike(make: Maker, text: str, cuts: Iterable[Sequence[str]] | None = None) -> None:
    """Equal lists of outputs, for any cut."""
    meant = outputs(make(), [text])
    for chunks in cuts_of(text) if cuts is None else cuts:
        assert meant == outputs(make(), chunks), f"cut as {chunks!r}"


def pieces_alike(make: Maker, text: str, cuts: Iterable[Sequence[str]] | None = None, *, channel: Channel = text_channel) -> None:
    """Equal outputs once neighbours of one channel are joined, for any cut; and no empty piece where none came in."""
    meant = joined(outputs(make(), [text]), channel)
    for chunks in cuts_of(text) if cuts is None else cuts:
        got = outputs(make(), chunks)
        assert not all(chunks) or all(channel(item)[1] != "" for item in got), f"an empty piece, cut as {chunks!r}"
        assert meant == joined(got, channel), f"cut as {chunks!r}"


def given_alike(make: Maker, text: str, *, channel: Channel | None = None) -> None:
    """After each of some beginnings of the text the same is out, be they read at once or one character at a time.

    `channel` is that of a stage which passes text on; without it lists are compared.
    """
    by_characters, given = make(), list[Any]()
    failed = False
    looked_at = _positions(text)
    for end in range(len(text) + 1):
        if end and not failed and not by_characters.done:
            failed = _feed(by_characters, text[end - 1], given)
        if end in looked_at:
            at_once, whole = make(), list[Any]()
            _feed(at_once, text[:end], whole)
            assert at_once.done is by_characters.done, f"behind {text[:end]!r}"
            if channel is None:
                assert whole == given, f"behind {text[:end]!r}"
            else:
                assert joined(whole, channel) == joined(given, channel), f"behind {text[:end]!r}"


def snapshots_alike(make: Maker, text: str, *, channel: Channel | None = None) -> None:
    """Saved at some places and taken up by another stage, made in the same way: the same comes out.

    What is saved must be plain values, stay as it was while the stages go on, and go through a copy.
    """

    def seen(items: Iterable[Any]) -> list[Any]:
        return list(items) if channel is None else joined(items, channel)

    for chunks in (list(text), cuts_of(text, 1)[-1]):
        meant = seen(outputs(make(), chunks))
        looked_at = _positions(chunks)
        stage, given = make(), list[Any]()
        taken: list[tuple[object, object]] = []
        for at in range(len(chunks) + 1):
            if at in looked_at:
                saved = stage.snapshot()
                _refuse_what_is_not_plain(saved, type(stage).__name__)
                kept = deepcopy(saved)
                other = make()
                other.restore(deepcopy(saved))
                assert saved == other.snapshot(), f"not what was saved, behind {chunks[:at]!r}"
                rest = [] if other.done else outputs(other, ["".join(chunks[at:])] if channel is not None else chunks[at:])
                assert meant == seen([*given, *rest]), f"taken up behind {chunks[:at]!r}"
                taken.append((kept, saved))
            if at < len(chunks) and not stage.done and _feed(stage, chunks[at], given):
                return
        if not stage.done:
            _end(stage, given)
        assert meant == seen(given), "the stage that was saved went on otherwise"
        assert all(kept == saved for kept, saved in taken), "what was saved changed as the stages went on"


def emits_early(make: Maker, text: str, futures: Sequence[str], *, channel: Channel | None = None, places: int = 8) -> None:
    """What all continuations of a beginning give alike is out when it was read.

    `channel` is that of a stage which passes text on: there each character counts, without it each output.

    `futures` are continuations among which each open question is decided in every way; the end of the text is always
    one of them. A stage that holds something back which none of them changes holds it back too long.
    """
    stage, given = make(), list[Any]()
    looked_at = _positions(text, places)
    for end in range(len(text) + 1):
        if end and (stage.done or _feed(stage, text[end - 1], given)):
            return
        if end not in looked_at:
            continue
        saved = stage.snapshot()
        certain: list[Any] | None = None
        for future in ("", *futures):
            other = make()
            other.restore(saved)
            out = _characters(outputs(other, [future] if future else []), channel)
            certain = out if certain is None else _common(certain, out)
            if not certain:
                break
        assert not certain, f"held back behind {text[:end]!r}, though certain: {certain!r}"


def holds_at_most(make: Maker, text: str, most: int) -> None:
    """Behind each chunk no more than `most` characters are in what the stage remembers."""
    for chunks in (list(text), [text]):
        stage = make()
        for chunk in chunks:
            if stage.done or _feed(stage, chunk, []):
                break
            held = _held(stage.snapshot())
            assert held <= most, f"{held} characters held behind {chunk[-200:]!r}, at most {most} are allowed"


def outputs(stage: Stage[str, Any], chunks: Iterable[str]) -> list[Any]:
    """All that comes out, its end included; an error in the input is the last item."""
    out: list[Any] = []
    for chunk in chunks:
        if stage.done or _feed(stage, chunk, out):
            return out
    if not stage.done:
        _end(stage, out)
    return out


def _feed(stage: Stage[str, Any], chunk: str, out: list[Any]) -> bool:
    """Whether that was the end: what is wrong with a text is as much a result as what is in it."""
    try:
        for item in stage.feed(chunk):
            out.append(item)
    except RemoteProtocolError as error:
        out.append(Failed.by(error))
        return True
    return False


def _end(stage: Stage[str, Any], out: list[Any]) -> None:
    try:
        for item in stage.flush():
            out.append(item)
    except RemoteProtocolError as error:
        out.append(Failed.by(error))


class Failed(msgspec.Struct, frozen=True):
    """What was wrong with the text; what stood there is as much of it as had come."""

    text: str

    @classmethod
    def by(cls, error: RemoteProtocolError) -> Failed:
        """What an error says, without its excerpt."""
        return cls(str(error).removesuffix(" (what stood there: `excerpt`)"))


def _positions(items: Sequence[object], most: int = _POSITIONS) -> set[int]:
    """Some places in it, spread evenly, both ends among them."""
    count = len(items)
    return {round(step * count / (most - 1)) for step in range(most)} if count >= most else set(range(count + 1))


def _refuse_what_is_not_plain(value: object, where: str) -> None:
    if type(value) in _PLAIN or isinstance(value, msgspec.Struct):
        return
    if type(value) in (list, tuple, set, frozenset):
        for one in value:  # type: ignore[attr-defined]  # one of the four
            _refuse_what_is_not_plain(one, where)
        return
    assert type(value) is dict, f"{where} saves a {type(value).__name__}, which is no plain value"
    for key, one in value.items():
        _refuse_what_is_not_plain(key, where)
        _refuse_what_is_not_plain(one, f"{where}.{key}")


def _held(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | tuple | set | frozenset):
        return sum(_held(one) for one in value)
    if isinstance(value, dict):
        # Names of attributes are no text of the stream; keys of its own are.
        return sum(_held(one) for one in value.values())
    return 0


def _characters(items: Iterable[Any], channel: Channel | None) -> list[Any]:
    """Outputs in the finest grain: each character with its key, and each other item."""
    if channel is None:
        return list(items)
    fine: list[Any] = []
    for item in items:
        key, text = channel(item)
        fine += [item] if text is None else [(key, char) for char in text]
    return fine


def _common(one: list[Any], other: list[Any]) -> list[Any]:
    for at, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return one[:at]
    return one[: len(other)]
