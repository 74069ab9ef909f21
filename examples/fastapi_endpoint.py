"""A FastAPI endpoint that streams an answer as server-sent events.

    python examples/fastapi_endpoint.py                         then, in another terminal:
    curl -N 'http://127.0.0.1:8001/chat?question=What+is+a+buffer'

Needs `pip install 'streamkit-ai[fastapi,demo]'`. With `dialect=openai-chat` OpenAI's own client reads it.
"""

from __future__ import annotations

from typing import Literal

from fastapi import FastAPI

import streamkit as sk
from streamkit.integrations.fastapi import EventStreamResponse

app = FastAPI()
model = sk.model("local")


@app.get("/chat")
async def chat(question: str, dialect: Literal["native", "openai-chat"] = "native") -> EventStreamResponse:
    """The answer, with tokens joined for readers that are slow. When the client leaves, the model stops."""
    return EventStreamResponse(model.stream(question) | sk.coalesce(), dialect=dialect)


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=8001)
