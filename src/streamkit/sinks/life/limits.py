"""How many connections there may be, and how often a client may ask: counted here, answered elsewhere.

    total          503 overloaded      however many clients there are
    per address    429 rate-limited    at one time; of an IPv6 address its /64, which is what one client has
    per key        429 rate-limited    at one time; whoever the application says that it is
    requests       429 rate-limited    in any window of so many seconds, of one key, or else of one address

Knows no sockets, no requests and no clock.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from typing import Final

from streamkit.sinks.refusals import Refused

__all__ = ["Limits", "network_of"]

# Clients whose requests are remembered; of more, those are forgotten that have been silent for longest.
_MOST_CLIENTS: Final = 100_000


class Limits:
    """The counts, and the refusals.

    Args:
        total, per_key, per_address: Most connections at one time; None for any number.
        requests, window: Most requests in any `window` seconds; None for any number.
        retry_after: Seconds that a client is asked to wait where nobody knows when there will be room.

    Attributes:
        open: How many there are.

    Memory: a count per address and key that has a connection; `requests` times for each client of the last `window` seconds, for
    at most 100,000 clients.
    """

    __slots__ = (
        "_asked",
        "_of_address",
        "_of_key",
        "_per_address",
        "_per_key",
        "_requests",
        "_retry_after",
        "_total",
        "_window",
        "open",
    )

    def __init__(
        self,
        *,
        total: int | None,
        per_key: int | None,
        per_address: int | None,
        requests: int | None,
        window: float,
        retry_after: float,
    ) -> None:
        self._total = total
        self._per_key = per_key
        self._per_address = per_address
        self._requests = requests
        self._window = window
        self._retry_after = retry_after
        self._of_address: dict[str, int] = {}
        self._of_key: dict[str, int] = {}
        self._asked: OrderedDict[str, deque[float]] = OrderedDict()
        self.open = 0

    def enter(self, address: str | None) -> None:
        """Count one more from an address; its key is counted by `claim`, once it is known.

        Raises:
            Refused: there is no room. Nothing was counted then.
        """
        if self._total is not None and self.open >= self._total:
            raise Refused(
                503, "There is no room for more streams. Try again later.", code="overloaded", retry_after=self._retry_after
            )
        if self._per_address is not None and address is not None:
            self._count(self._of_address, network_of(address), self._per_address)
        self.open += 1

    def claim(self, key: str | None, address: str | None, now: float) -> None:
        """Count what has entered for its key, and for the requests of its key or else of its address.

        Raises:
            Refused: too many. What `enter` counted is still to be given back, and nothing was counted here.
        """
        if self._per_key is not None and key is not None:
            self._count(self._of_key, key, self._per_key)
        if self._requests is None:
            return
        client = f"key {key}" if key is not None else None if address is None else f"address {network_of(address)}"
        if client is not None:
            wait = self._wait_of(client, now)
            if wait > 0:
                self._discount(self._of_key, key)
                raise Refused(429, "Too many requests. Try again later.", code="rate-limited", retry_after=wait)

    def leave(self, key: str | None, address: str | None) -> None:
        """One has gone; `key` is None if it was never claimed."""
        self.open -= 1
        self._discount(self._of_key, key)
        self._discount(self._of_address, None if address is None or self._per_address is None else network_of(address))

    def _count(self, counts: dict[str, int], name: str, most: int) -> None:
        count = counts.get(name, 0)
        if count >= most:
            raise Refused(429, "Too many streams at one time. Try again later.", code="rate-limited", retry_after=self._retry_after)
        counts[name] = count + 1

    def _discount(self, counts: dict[str, int], name: str | None) -> None:
        if name is not None and name in counts:
            counts[name] -= 1
            if not counts[name]:
                del counts[name]

    def _wait_of(self, client: str, now: float) -> float:
        """Seconds until this client may ask again, and 0 if it may now: then it has."""
        assert self._requests is not None
        # Whoever asks goes to the end: in front are those that have been silent for longest.
        while self._asked and (len(self._asked) > _MOST_CLIENTS or next(iter(self._asked.values()))[-1] <= now - self._window):
            self._asked.popitem(last=False)
        times = self._asked.get(client)
        if times is None:
            times = self._asked[client] = deque(maxlen=self._requests)
        elif len(times) == self._requests and times[0] > now - self._window:
            return times[0] + self._window - now
        times.append(now)
        self._asked.move_to_end(client)
        return 0.0


def network_of(address: str) -> str:
    """What one client has of addresses: an IPv4 address, or the /64 of an IPv6 one; other texts are taken as they are.

    >>> network_of("192.0.2.7"), network_of("2001:db8:0:1:2:3:4:5")
    ('192.0.2.7', '2001:db8:0:1::')
    """
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
