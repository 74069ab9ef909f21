"""Anthropic's Messages API as it streams, both ways.

Reference: "Streaming messages" of Anthropic's API reference, and the block and delta kinds that its SDK knows, the
beta ones among them.
`shapes` holds what a frame looks like, `decoder` reads, `encoder` writes.
"""

from __future__ import annotations

from streamkit.dialects.anthropic.decoder import AnthropicDecoder as AnthropicDecoder
from streamkit.dialects.anthropic.encoder import AnthropicEncoder as AnthropicEncoder
from streamkit.dialects.protocol import Dialect

DIALECT = Dialect("anthropic", "sse", decoder=AnthropicDecoder, encoder=AnthropicEncoder)
