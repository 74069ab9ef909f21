"""OpenAI's chat completions and the many servers that speak like it, both ways.

Reference: the chat completion chunk object of OpenAI's API reference; deviations of its relatives as
recorded from Azure, DeepSeek, Groq, Mistral, OpenRouter, Perplexity, vLLM and llama.cpp.
`shapes` holds what a chunk looks like, `decoder` reads, `encoder` writes.
"""

from __future__ import annotations

from streamkit.dialects.openai_chat.decoder import OpenAIChatDecoder as OpenAIChatDecoder
from streamkit.dialects.openai_chat.encoder import OpenAIChatEncoder as OpenAIChatEncoder
from streamkit.dialects.protocol import Dialect

DIALECT = Dialect("openai-chat", "sse", decoder=OpenAIChatDecoder, encoder=OpenAIChatEncoder)
