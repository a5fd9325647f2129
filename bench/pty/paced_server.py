"""A server that speaks enough of Ollama's API to stream a fixed Markdown answer at a set pace.

    python bench/pty/paced_server.py PORT

A question that holds RATExCOUNT, "100x1000", is answered with COUNT tokens at RATE a second; one that also
holds "code" with a single long fence. Without it the answer is 100 tokens long.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

MODEL = "paced:latest"
TICK_S = 0.01
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "5M",
    "quantization_level": "F16",
}
PROSE = """## Section {n}: how a stream arrives

A terminal client receives small pieces of text, joins them, and must paint them without losing the place.
The **bold part** and the *slanted part* and some `inline code` keep the parser busy.

```python
def stream_{n}(tokens, width=80):
    # wrap each piece at the width of the pane
    return {{"left": "", "count": 42}}
```

- first item of list {n}, short
- second item, which is a good deal longer and will need to wrap on a narrow screen because it goes on and on

| Name {n} | Bytes/s | Note |
|:-----|--------:|------|
| alpha | 1024 | steady |
| beta | 22000 | bursts of text |

Plain text again, so that the paragraph has something to align with, and é ü ñ 日本語 to be wide.

"""
CODE = "    value_{n} = compute({n}, width=80)  # one line of a long fence\n"


def pieces(code: bool) -> Iterator[str]:
    """An endless stream of pieces as long as tokens are."""
    if code:
        yield "```python\ndef long():\n"
    n = 0
    while True:
        n += 1
        yield from re.findall(r"[ \t]*\S{1,5}|\n+|[ \t]+", (CODE if code else PROSE).format(n=n))


async def answer(model: str, prompt: str) -> AsyncIterator[bytes]:
    """The lines of an answer; tokens that are due together go out together."""
    match = re.search(r"(\d+)x(\d+)", prompt)
    rate, count = (int(match[1]), int(match[2])) if match else (100, 100)
    source, begun, sent = pieces("code" in prompt), time.monotonic(), 0
    while sent < count:
        await asyncio.sleep(TICK_S)
        due = min(int((time.monotonic() - begun) * rate), count)
        lines = [
            {"model": model, "message": {"role": "assistant", "content": next(source)}, "done": False}
            for _ in range(due - sent)
        ]
        sent = due
        yield b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    elapsed_ns = max(int((time.monotonic() - begun) * 1e9), 1)
    yield (
        json.dumps(
            {
                "model": model,
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "stop",
                "total_duration": elapsed_ns,
                "load_duration": 1,
                "prompt_eval_count": 10,
                "prompt_eval_duration": 1,
                "eval_count": count,
                "eval_duration": elapsed_ns,
            }
        ).encode()
        + b"\n"
    )


async def chat(request: Request) -> StreamingResponse:
    body = json.loads(await request.body())
    prompt = next((m["content"] for m in reversed(body.get("messages", [])) if m["role"] == "user"), "")
    return StreamingResponse(answer(body["model"], prompt), media_type="application/x-ndjson")


async def version(_request: Request) -> JSONResponse:
    return JSONResponse({"version": "0.13.0"})


async def tags(_request: Request) -> JSONResponse:
    model = {
        "name": MODEL,
        "model": MODEL,
        "modified_at": "2026-01-01T00:00:00Z",
        "size": 5_000_000,
        "digest": "0" * 64,
        "details": DETAILS,
    }
    return JSONResponse({"models": [model]})


async def running(_request: Request) -> JSONResponse:
    return JSONResponse({"models": []})


async def show(_request: Request) -> JSONResponse:
    return JSONResponse(
        {
            "modelfile": "FROM paced",
            "parameters": "",
            "template": "{{ .Prompt }}",
            "details": DETAILS,
            "capabilities": ["completion"],
            "modified_at": "2026-01-01T00:00:00Z",
            "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
        }
    )


APP = Starlette(
    routes=[
        Route("/api/version", version),
        Route("/api/tags", tags),
        Route("/api/ps", running),
        Route("/api/show", show, methods=["POST"]),
        Route("/api/chat", chat, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(APP, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="off")
