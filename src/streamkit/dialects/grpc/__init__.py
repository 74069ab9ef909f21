"""streamkit over gRPC, without I/O: the published `streamkit.proto`, events as its messages, outcomes as statuses.

    streamkit.proto, .binpb   the service, and what `protoc` makes of it
    schema                    the message classes, in a pool of their own
    messages                  events, answers and input as messages, and back
    statuses                  how a stream ended, as a status and trailers, and back

Nothing else of streamkit knows of this, and none of it is imported before somebody serves or calls gRPC.
"""

from __future__ import annotations
