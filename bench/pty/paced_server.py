"""A server that speaks enough of Ollama's API to stream the answers of `bench.pty.paced`.

python bench/pty/paced_server.py PORT
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.pty.paced import pace_of, paced

MODEL = "paced:latest"
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "5M",
    "quantization_level": "F16",
}


async def answer(model: str, prompt: str) -> AsyncIterator[bytes]:
    """The lines of an answer; tokens that are due together go out together."""
    count, begun = 0, time.monotonic()
    async for tokens in paced(pace_of(prompt)):
        lines = [
            {"model": model, "message": {"role": "assistant", "content": token}, "done": False}
            for token in tokens
        ]
        count += len(tokens)
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
