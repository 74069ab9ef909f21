"""The AI SDK's two stream protocols, written for `useChat` and whatever else reads them (assistant-ui among others).

Reference: the UI message stream protocol, version 1, and the text stream protocol in the AI SDK's documentation; where that is
silent, what its clients do (`ai` 6.0.326 and 7.0.173, `assistant-stream` 0.3.44: they are asked in tests/web).
`encoder` holds the order of chunks, `calls` what becomes of tool calls, `chunks` the shapes that are not one line, `text` the
protocol that is only text, `answers` what the id of a message has to be.
"""

from __future__ import annotations

from streamkit.dialects.ai_sdk.answers import answer_id as answer_id
from streamkit.dialects.ai_sdk.encoder import AISDKEncoder as AISDKEncoder
from streamkit.dialects.protocol import Dialect

DIALECT = Dialect("ai-sdk", "sse", encoder=AISDKEncoder, headers={"x-vercel-ai-ui-message-stream": "v1"}, replays_ended=False)
