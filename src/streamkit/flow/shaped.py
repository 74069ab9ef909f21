"""Operators whose result follows from the stream they are put into, whatever its type: lists of it, pairs of it, it and more.

Only types live here; the classes add nothing at run time. `Op[T, list[T]]` cannot say this: no argument of `batch(2)`
settles T, so a checker settles it before it sees the stream, and some settle on Unknown. Here the type variable belongs to
a method that no one calls: `Stream.__or__` matches it as `Shaped`, and the stream's own type goes through it. Each class is
an `Op` too, for whoever annotates one: `def pairs_of_words() -> Op[str, list[str]]: return batch(2)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from streamkit.flow.plan import Op

if TYPE_CHECKING:
    from streamkit.flow.sources import Given

__all__ = ["Flattens", "Keeps", "Lists", "Numbers", "Pairs", "Shaped", "Widens", "Windows"]

T = TypeVar("T")
U_co = TypeVar("U_co", covariant=True)
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Shaped(Protocol[In_contra, Out_co]):
    """An operator that says by a method's type what becomes of an item."""

    if TYPE_CHECKING:

        def _shape(self, item: In_contra, /) -> Out_co: ...


class Keeps(Op[In_contra, Any], Generic[In_contra]):
    """Gives what it was given, having asked something about it: `filter(bool)` asks anything, and a str stays a str."""

    __slots__ = ()


class Lists(Op[Any, list[Any]]):
    """Gives lists of the items."""

    __slots__ = ()
    if TYPE_CHECKING:

        def _shape(self, item: T, /) -> list[T]: ...


class Windows(Op[Any, tuple[Any, ...]]):
    """Gives tuples of any number of the items."""

    __slots__ = ()
    if TYPE_CHECKING:

        def _shape(self, item: T, /) -> tuple[T, ...]: ...


class Pairs(Op[Any, tuple[Any, Any]]):
    """Gives two items together."""

    __slots__ = ()
    if TYPE_CHECKING:

        def _shape(self, item: T, /) -> tuple[T, T]: ...


class Numbers(Op[Any, tuple[int, Any]]):
    """Gives each item with a number."""

    __slots__ = ()
    if TYPE_CHECKING:

        def _shape(self, item: T, /) -> tuple[int, T]: ...


class Widens(Op[Any, Any], Generic[U_co]):
    """Gives the items, and others among them."""

    __slots__ = ()
    if TYPE_CHECKING:

        def _shape(self, item: T, /) -> T | U_co: ...


class Flattens(Op["Given[Any]", Any]):
    """Gives the items of the streams that are its items."""

    __slots__ = ()
    if TYPE_CHECKING:

        def _shape(self, item: Given[T], /) -> T: ...
