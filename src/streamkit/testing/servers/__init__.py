"""Providers on loopback: they speak a dialect's wire exactly, and fail as they are told.

    with servers.provider("openai-chat", "Hello to you", servers.cut(after=2)) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
        ...
    server.requests[0].json["messages"]

A *script* is what the provider says: text, a list of events, or a callable that gets the request's body and gives one
of these. A *fault* changes one answer on its way out (`faults` lists them); faults are applied from left to right, each
to what the one before it made. The server runs in threads of its own, so clients of any kind reach it: sync and async,
on asyncio, uvloop and trio. It listens on 127.0.0.1 only, and no connection outlives the block or `seconds`.

What it answers: POST to the dialect's own path (`/v1/chat/completions`, `/v1/responses`, `/v1/messages`; any prefix,
and any path at all for dialects without one), and GET `/v1/models`, for clients that warm up. A request that does not
ask for a stream is refused with status 400, in the provider's form.
"""

from __future__ import annotations

from streamkit.testing.servers.answers import HOLD as HOLD
from streamkit.testing.servers.answers import Answer as Answer
from streamkit.testing.servers.answers import Bytes as Bytes
from streamkit.testing.servers.answers import Pause as Pause
from streamkit.testing.servers.answers import Script as Script
from streamkit.testing.servers.answers import Step as Step
from streamkit.testing.servers.answers import Tear as Tear
from streamkit.testing.servers.answers import endless as endless
from streamkit.testing.servers.faults import Fault as Fault
from streamkit.testing.servers.faults import bad_frame as bad_frame
from streamkit.testing.servers.faults import cut as cut
from streamkit.testing.servers.faults import error as error
from streamkit.testing.servers.faults import first as first
from streamkit.testing.servers.faults import garbage as garbage
from streamkit.testing.servers.faults import gzipped as gzipped
from streamkit.testing.servers.faults import mute as mute
from streamkit.testing.servers.faults import pieces as pieces
from streamkit.testing.servers.faults import pings as pings
from streamkit.testing.servers.faults import silent as silent
from streamkit.testing.servers.faults import slow as slow
from streamkit.testing.servers.faults import stall as stall
from streamkit.testing.servers.faults import status as status
from streamkit.testing.servers.faults import together as together
from streamkit.testing.servers.faults import torn as torn
from streamkit.testing.servers.listener import Server as Server
from streamkit.testing.servers.listener import provider as provider
from streamkit.testing.servers.seen import Seen as Seen
