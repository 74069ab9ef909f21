"""The id of the message that answers a request of the AI SDK's chat.

A client keeps its messages by id: one that is there already is written over, one that is new is shown beside the others. So an
answer needs an id that no other has; the second request of one message, behind a tool that the page has run, needs that
message's; and what is read again after a lost connection needs the same id as the first time, or it is shown twice. Without an id
a client makes one, which holds for the first two.

    async def answer(request):
        yield Start(answer_id(request.json()["messages"]))
        async for event in model.stream(...):
            yield event
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import cast

__all__ = ["answer_id"]


def answer_id(messages: object) -> str:
    """The id for the `Start` of the answer to these messages (`request.json()["messages"]`, of whatever shape).

    That of the assistant's message which the answer goes on with, if one is the last; else a new one that nobody can guess.

    >>> answer_id([{"id": "u1", "role": "user"}, {"id": "a1", "role": "assistant"}])
    'a1'
    """
    if isinstance(messages, Sequence) and messages and isinstance(last := cast("Sequence[object]", messages)[-1], Mapping):
        id, role = (cast("Mapping[str, object]", last).get(name) for name in ("id", "role"))
        if role == "assistant" and isinstance(id, str) and id:
            return id
    return f"msg-{secrets.token_urlsafe(16)}"
