"""Whether a client's application reads, seen by the window that its kernel advertises.

At the pace of tokens a client that stops reading is hidden for long: its kernel goes on taking and acknowledging until its receive
buffer is full, and all that we sent seems to have arrived. But a window has an edge, the last byte that the client's kernel will
take (RFC 9293, section 3.8: SND.UNA + SND.WND), and only reading moves it on. Linux tells both (TCP_INFO of tcp(7), from 5.4 on):

    reading       acknowledged  1000   window 65536   edge  66536
                  acknowledged  9000   window 65536   edge  74536
    reading no    acknowledged 48000   window 62528   edge 110528
                  acknowledged 60000   window 50528   edge 110528
                  acknowledged 110528  window     0   edge 110528

Some things cannot be seen from here. The first 45 kB that a client with a usual buffer (128 KiB, of which a window is half) does
not read still move the edge: they fill the other half. And a Linux client's kernel makes the buffer larger, whether anybody reads
or not, as long as what comes are small pieces, up to its own bound of some megabytes (`tcp_rmem`): tokens of 80 bytes at 4 kB/s are
all acknowledged, with an open window, for many minutes. Nothing of them waits on our side. With pieces of 400 bytes at 40 kB/s the
edge stands after four seconds.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

from streamkit.sinks.life.transports import HasOptions, Transport

__all__ = ["Edge"]

# struct tcp_info of linux/tcp.h: tcpi_bytes_acked and tcpi_snd_wnd.
_ACKED: Final = struct.Struct("@120xQ")
_WINDOW: Final = struct.Struct("@228xI")

# Bytes that must have been acknowledged without a move: windows are rounded, to some kilobytes at most.
_ENOUGH: Final = 4096


class Edge:
    """Watches where the window of one connection ends.

    Args:
        transport: The connection's. Where the server shows none, and on other systems, nothing is ever seen.

    Memory: four numbers.
    """

    __slots__ = ("_acked_before", "_acked_last", "_edge", "_progress_at", "_since", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._edge = -1
        self._since = 0.0
        # How much was acknowledged when the edge was first seen there, and at the last look that saw more.
        self._acked_before = self._acked_last = 0
        self._progress_at = 0.0

    def still_for(self, now: float) -> float:
        """Seconds for which the client has certainly read nothing, as far as this was asked for before; 0.0 if nobody knows.

        What it has read since the last acknowledgement is not known: so only the time counts in which more was acknowledged, unless
        the window is shut. One that opens again is told at once.
        """
        seen = _acked_and_window(self._transport.socket)
        if seen is None:
            return 0.0
        acked, window = seen
        if acked + window != self._edge:
            self._edge, self._since, self._progress_at = acked + window, now, now
            self._acked_before = self._acked_last = acked
            return 0.0
        if acked > self._acked_last:
            self._acked_last, self._progress_at = acked, now
        if window == 0:
            return now - self._since
        return self._progress_at - self._since if acked - self._acked_before >= _ENOUGH else 0.0


def _acked_and_window(connection: HasOptions | None) -> tuple[int, int] | None:
    if connection is None or sys.platform != "linux":
        return None
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except (OSError, ValueError):  # it is closed, or no TCP
        return None
    if len(told) < _WINDOW.size:
        return None
    return _ACKED.unpack_from(told)[0], _WINDOW.unpack_from(told)[0]
