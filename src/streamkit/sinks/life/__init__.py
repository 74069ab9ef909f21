"""How connections live and end, under the sinks that serve them.

    limits, addresses          who is let in: counts by address and by key, and whose address it is
    alarms                     one timer per event loop, for heartbeats and for watching over slow clients
    departures                 clients that leave: how that is heard
    transports                 the server's own end of a connection: where it is found, and how it is broken off
    windows, stalls            clients that take nothing: how that is seen, and when they are given up
    interrupts                 a task that is called off by another one, beside cancels from outside
    stop_signals, draining     the process is told to stop: everything that is open is told, then cut

What applications use of it is `streamkit.sinks.connections` and `streamkit.sinks.sockets`.
"""

from __future__ import annotations
