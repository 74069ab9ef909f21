"""A model that calls a typed function until it has its answer.

    python examples/tool_loop.py

Needs `pip install 'streamkit-ai[httpx2]'`. No network and no key: the model is a script on this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import streamkit as sk
from streamkit.testing import servers

STOCK = {"tea": 12, "coffee": 0}
MOST_ROUNDS = 5  # a model that never stops calling would cost without end


async def stock(item: str) -> int:
    """How many of an item are left.

    Args:
        item: The item's name, in lower case.
    """
    return STOCK[item]


def script(body: Mapping[str, Any]) -> list[sk.Event]:
    """Stands for the model: it asks twice, and answers with what it was told."""
    told = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    match told:
        case []:
            return [sk.TextDelta("Let me look."), call("1", "tea"), call("2", "milk"), sk.Finish("tool-calls")]
        case [_, _]:
            return [call("3", "coffee"), sk.Finish("tool-calls")]
        case _:
            return [sk.TextDelta(f"Tea: {told[0]}, milk: not ours, coffee: {told[2]}."), sk.Finish("stop")]


def call(id: str, item: str) -> sk.ToolCall:
    return sk.ToolCall(id, "stock", f'{{"item":"{item}"}}')


async def ask(model: sk.Model, request: sk.Request) -> sk.Message:
    """Ask, run what the model calls while it still speaks, and go on until it calls nothing."""
    for _ in range(MOST_ROUNDS):
        message = sk.Message()
        async with model.stream(request) | sk.timeout(idle=30) | sk.run_tools([stock], timeout=10) as events:
            async for event in events:
                message.add(event)
                match event:
                    case sk.TextDelta(text=text):
                        print(text)
                    case sk.ToolCall(name=name, arguments=arguments):
                        print("  call  ", name, arguments)
                    case sk.ToolResult(output=output, is_error=failed):
                        print("  failed" if failed else "  result", output)
        if not message.tool_calls:
            return message
        request = request.then(message, *message.tool_results)
    raise RuntimeError(f"no answer after {MOST_ROUNDS} rounds")


async def main() -> None:
    with servers.provider("openai-chat", script) as server:
        async with sk.model(server.url, model="small", tools=[stock]) as model:
            await ask(model, sk.Request.of("What do we have?"))


if __name__ == "__main__":
    asyncio.run(main())
