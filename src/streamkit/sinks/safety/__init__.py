"""What keeps other web sites away from a stream: one rule per module, each an ASGI wrapper or a function.

    origins     is this Origin one of ours: exact scheme, host and port
    cors        pages of other origins that may read, each named
    crossing    requests that a foreign page makes with the user's cookies are refused
    hosts       names that a server answers to, so that a foreign name cannot be pointed at it

The wrappers stand in front of any ASGI application, look at the request's headers and at the response's first message, and
hold nothing of a stream; `refusing` is how they say no.
"""

from __future__ import annotations
