"""The law catches stages that break it: each of its checks, by a stage that is wrong in that way alone."""

from __future__ import annotations

import pytest
from law_of_stages import (
    emits_early,
    given_alike,
    holds_at_most,
    joined,
    pieces_alike,
    segments_alike,
    snapshots_alike,
    text_channel,
)

from streamkit.stages.stage import Stage


class Whole(Stage[str, str]):
    """Holds everything to the end: right, but late."""

    state = ("_held",)

    def __init__(self) -> None:
        self._held: list[str] = []

    def feed(self, item: str) -> tuple[str, ...]:
        self._held.append(item)
        return ()

    def flush(self) -> tuple[str, ...]:
        text, self._held = "".join(self._held), []
        return (text,) if text else ()


class AsCut(Stage[str, str]):
    """Passes chunks on, each in brackets."""

    state = ()

    def feed(self, item: str) -> tuple[str, ...]:
        return (f"[{item}]",)


class Late(Stage[str, str]):
    """Gives each chunk when the next one comes."""

    state = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def feed(self, item: str) -> tuple[str, ...]:
        before, self._held = self._held, item
        return (before,) if before else ()

    def flush(self) -> tuple[str, ...]:
        return self.feed("")


class Forgets(Late):
    """Saves less than it remembers."""

    def snapshot(self) -> dict[str, object]:
        return {}


class Shares(Whole):
    """Saves its own list, which goes on growing."""

    def snapshot(self) -> dict[str, object]:
        return {"_held": self._held}


class Strange(Whole):
    """Saves itself."""

    def snapshot(self) -> dict[str, object]:
        return {"_held": self}


def test_outputs_that_follow_the_cuts_are_found() -> None:
    with pytest.raises(AssertionError, match="cut as"):
        segments_alike(AsCut, "abc")
    with pytest.raises(AssertionError, match="cut as"):
        pieces_alike(AsCut, "abc")
    with pytest.raises(AssertionError, match="behind 'ab"):
        given_alike(Late, "abc", channel=text_channel)


def test_what_comes_late_is_found() -> None:
    with pytest.raises(AssertionError, match="held back behind 'a"):
        emits_early(Whole, "abc", ["x"], channel=text_channel)
    with pytest.raises(AssertionError, match="3 characters held"):
        holds_at_most(Whole, "abc", 2)


@pytest.mark.parametrize(("broken", "why"), [(Forgets, "taken up behind"), (Shares, "changed"), (Strange, "no plain value")])
def test_a_snapshot_that_is_none_is_found(broken: type[Stage[str, str]], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        snapshots_alike(broken, "abc", channel=text_channel)


def test_what_is_right_passes() -> None:
    pieces_alike(Late, "abc")
    snapshots_alike(Late, "abc", channel=text_channel)
    snapshots_alike(Whole, "abc")
    assert [("text", "abc"), 1] == joined(["a", "b", "", "c", 1])
