"""OpenAI's Responses API and the servers that speak like it, both ways.

Reference: the streaming events of OpenAI's API reference for responses; deviations as seen from llama.cpp, LM Studio and
proxies. `shapes` holds what an event looks like, `decoder` reads, `encoder` writes.
"""

from __future__ import annotations

from streamkit.dialects.openai_responses.decoder import OpenAIResponsesDecoder as OpenAIResponsesDecoder
from streamkit.dialects.openai_responses.encoder import OpenAIResponsesEncoder as OpenAIResponsesEncoder
from streamkit.dialects.protocol import Dialect

DIALECT = Dialect("openai-responses", "sse", decoder=OpenAIResponsesDecoder, encoder=OpenAIResponsesEncoder)
