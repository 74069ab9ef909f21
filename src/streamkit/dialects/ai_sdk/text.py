"""The AI SDK's text stream protocol: the text of the answer and nothing around it, for `TextStreamChatTransport`.

There is no word for an error and none for an end: a reader takes for complete whatever ends as HTTP wants it, so a sink that
knows of a failure must leave the response unfinished. Choice 0 is written, and the blocks of text follow each other in the order
in which they came.
"""

from __future__ import annotations

from streamkit.dialects.protocol import Dialect
from streamkit.dialects.text import TextEncoder

__all__ = ["DIALECT"]

DIALECT = Dialect("ai-sdk-text", "text", encoder=TextEncoder, media_type="text/plain; charset=utf-8", replays_ended=False)
