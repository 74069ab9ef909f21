"""A buffer that counts what is done to the bytes it holds: how linear time is proved without a clock."""

from __future__ import annotations

from typing import Self, SupportsIndex


class CountedBuffer(bytearray):
    """A bytearray that adds up the bytes put in and copied out, and refuses to be searched.

    Subclass it in the test: `touched` belongs to the class, so that buffers can share one.
    """

    touched = 0

    def __iadd__(self, other: object) -> Self:
        assert isinstance(other, bytes)
        type(self).touched += len(other)
        self.extend(other)
        return self

    def __bytes__(self) -> bytes:
        type(self).touched += len(self)
        return bytes(memoryview(self))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        type(self).touched += len(self)
        return super().decode(encoding, errors)

    def __getitem__(self, index: SupportsIndex | slice) -> object:  # type: ignore[override]  # only counted
        got = super().__getitem__(index)
        type(self).touched += len(got) if isinstance(got, bytearray) else 1
        return got

    def find(self, *_: object) -> int:
        raise AssertionError("held bytes were searched again")

    rfind = index = count = find

    def split(self, *_: object, **__: object) -> list[bytearray]:
        raise AssertionError("held bytes were searched again")
