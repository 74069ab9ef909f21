"""One request, asked of three providers in the wire of each.

    python examples/ask_any_provider.py

Needs `pip install 'streamkit-ai[httpx2]'`. No network and no key: `servers.provider` stands for the providers on this
machine, and shows what reached it. With keys in the environment the same code asks `sk.model("openai:gpt-5")`,
`sk.model("openai:gpt-5", api="responses")` and `sk.model("anthropic:claude-sonnet-4-5")`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import streamkit as sk
from streamkit.testing import servers

REQUEST = sk.Request.of("Why is the sky blue?", system="Answer in one sentence.", max_tokens=60)


def answer(body: Mapping[str, object]) -> str:
    """What the stand-in says: where each wire puts the system's words is the provider's own business."""
    place = next(name for name in ("instructions", "system", "messages") if name in body)
    return f"Because of scattering. (The system's words stood in {place!r}.)"


async def main() -> None:
    for dialect in ("openai-chat", "openai-responses", "anthropic"):
        with servers.provider(dialect, answer) as server:
            async with sk.model(server.url, dialect=dialect, model="small") as model:
                message = await model.stream(REQUEST).message()
            assert message.complete
            print(f"{dialect}, {server.requests[0].path}: {message.text}")


if __name__ == "__main__":
    asyncio.run(main())
