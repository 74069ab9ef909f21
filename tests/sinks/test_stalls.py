"""When a client that takes nothing is given up: by a write that does not end, or by a window whose edge does not move."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from streamkit.sinks.life.stalls import Stall
from streamkit.sinks.life.transports import NO_TRANSPORT, HasOptions, Transport

TIMEOUT = 20.0


def looks(*writes: float | None, transport: Transport = NO_TRANSPORT) -> list[bool]:
    """What is judged, look after look, when this write is under way at each."""
    stall = Stall(transport, TIMEOUT)
    return [stall.is_over(look * stall.every, write) for look, write in enumerate(writes)]


def test_one_write_that_is_under_way_at_four_looks_has_had_its_time() -> None:
    assert [False, False, False, True, True] == looks(1.0, 1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "writes",
    [
        pytest.param([None] * 9, id="none"),
        pytest.param([float(number) for number in range(9)], id="another each time"),
        pytest.param([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0], id="another before the time is over"),
        pytest.param([1.0, 1.0, 1.0, None, 1.0, 1.0, 1.0, None, 1.0], id="one that ends between"),
    ],
)
def test_writes_that_end_are_no_stall(writes: list[float | None]) -> None:
    assert [False] * 9 == looks(*writes)


class Unread(Transport):
    """Of a client whose kernel took 50 kB more before each look, and nobody read any of it."""

    __slots__ = ("acked",)

    def __init__(self) -> None:
        self.acked = 0

    @property
    def socket(self) -> HasOptions | None:
        self.acked += 50_000
        return self

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        assert (socket.IPPROTO_TCP, socket.TCP_INFO) == (level, option)
        told: Any = bytearray(min(size, 232))
        struct.pack_into("@Q", told, 120, self.acked)
        struct.pack_into("@I", told, 228, 1_000_000 - self.acked)
        return bytes(told)


def test_a_window_whose_edge_stands_for_half_of_the_time_is_a_stall_also_between_writes() -> None:
    assert [False, False, True, True] == looks(None, None, None, None, transport=Unread())
