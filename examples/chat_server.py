"""A chat whose answers can be left, found again and stopped, in one file.

    python examples/chat_server.py [chat.db]                    then open http://127.0.0.1:8002/, or:
    curl -N -i -d '{"prompt":"What is a buffer?"}' http://127.0.0.1:8002/chat/     its id is in x-stream-id
    curl -N http://127.0.0.1:8002/chat/ID/stream                the same answer, once more; -H 'Last-Event-ID: ...' resumes
    curl -X POST http://127.0.0.1:8002/chat/ID/cancel           and it ends, for all who read it

Reload the page in the middle of an answer, open it in a second window, restart the server: the answer is there.
Needs `pip install 'streamkit-ai[demo]'`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

import streamkit as sk
from streamkit.sinks.chats import ChatRequest

PAGE = """<!doctype html><meta charset="utf-8"><title>streamkit</title>
<form id="ask"><input id="question" value="What is a buffer?" size="60"><button>Ask</button></form>
<button id="stop">Stop</button><pre id="answer" style="white-space: pre-wrap"></pre>
<script>
let source, answer = document.getElementById("answer"), question = document.getElementById("question");
function follow(id) {                           // from the beginning, and after each lost connection where it was
  source?.close(); answer.textContent = "";
  source = new EventSource(`chat/${id}/stream`);
  source.onmessage = ({data}) => {
    const event = JSON.parse(data);
    if (event.type === "text-delta") answer.textContent += event.text;
    if (event.type === "finish" || event.type === "error") {
      source.close(); answer.textContent += `\\n\\n[${event.message ?? event.reason ?? "stop"}]`;
    }
  };
}
document.getElementById("ask").onsubmit = async (submitted) => {
  submitted.preventDefault();
  const reply = await fetch("chat/", {method: "POST", body: JSON.stringify({prompt: question.value})});
  location.hash = reply.headers.get("x-stream-id");
  reply.body.cancel();                          // the answer goes on; it is read as an EventSource
};
document.getElementById("stop").onclick = () => fetch(`chat/${location.hash.slice(1)}/cancel`, {method: "POST"});
(onhashchange = () => location.hash && follow(location.hash.slice(1)))();
</script>"""


class Asked(msgspec.Struct):
    """What the page sends."""

    prompt: str


def chat(path: str) -> Starlette:
    """The application, with its streams in this file."""
    model = sk.model("local")

    def answer(request: ChatRequest) -> sk.Stream[sk.Event]:
        return model.stream(request.json(Asked).prompt)

    hub = sk.Hub(sk.SqliteStore(path))
    routes = sk.ChatRoutes(answer, hub, retry=500)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with hub, routes:
            yield

    return Starlette(routes=[Route("/", HTMLResponse(PAGE)), Mount("/chat", routes)], lifespan=lifespan)


if __name__ == "__main__":
    uvicorn.run(chat(sys.argv[1] if len(sys.argv) > 1 else "chat.db"), host="127.0.0.1", port=8002)
