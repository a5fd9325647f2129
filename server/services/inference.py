"""The generation pipeline: every API's chat, completion, embedding and ranking goes through here."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from server.errors import InvalidImage
from server.runners.pool import Lease, RunnerPool
from server.services.generation_run import GenerationRun
from server.services.prompting import PreparedPrompt, chat_prompt, generate_prompt
from server.services.requests import OpenRequest, RequestLog
from server.services.rerank import ranked
from server.services.resolve import ResolvedModel, Resolver
from server.services.tiny_contexts import fitted
from server.types.generation import (
    ChatRequest,
    Completed,
    EmbedRequest,
    EmbedResult,
    GenerateRequest,
    GenerationEvent,
    Origin,
    Rendered,
)
from server.types.ranking import RerankRequest, RerankResult
from server.types.vectors import shortened

CALL_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
LONG_CALL_ID_ALPHABET = CALL_ID_ALPHABET + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def new_call_id() -> str:
    """Identifier of a tool call, in Ollama's form."""
    return "call_" + "".join(secrets.choice(CALL_ID_ALPHABET) for _ in range(8))


def new_long_call_id() -> str:
    """Identifier of a tool call, in the form of models that render by their own Jinja template."""
    return "".join(secrets.choice(LONG_CALL_ID_ALPHABET) for _ in range(32))


class Inference:
    """Answers, completions and embeddings over the pool of loaded models."""

    def __init__(self, resolver: Resolver, pool: RunnerPool, requests: RequestLog) -> None:
        self._resolver = resolver
        self._pool = pool
        self._requests = requests

    async def chat(self, request: ChatRequest) -> AsyncGenerator[GenerationEvent, None]:
        """See `InferenceService.chat`."""
        async with self._requests.track(request.model, request.origin) as tracked:
            stored = await self._resolver.find(request.model)
            if not request.messages and request.keep_alive_s == 0:
                yield await self._unload(stored.name.display())
                return
            model = await self._resolver.resolve_chat(request, stored)
            async with self._lease(model, request.keep_alive_s, tracked) as (lease, load_ns, started_ns):
                if not request.messages:
                    yield Completed(reason="load")
                    return
                async with tracked.cancellable():
                    prompt = await chat_prompt(request, model, lease)
                events = self._generate(request, model, prompt, lease, tracked, load_ns, started_ns)
                async with aclosing(events):
                    async for event in events:
                        yield event

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerationEvent, None]:
        """See `InferenceService.generate`."""
        async with self._requests.track(request.model, request.origin) as tracked:
            stored = await self._resolver.find(request.model)
            if not request.prompt and request.keep_alive_s == 0:
                yield await self._unload(stored.name.display())
                return
            model = await self._resolver.resolve_generate(request, stored)
            async with self._lease(model, request.keep_alive_s, tracked) as (lease, load_ns, started_ns):
                if not request.prompt:
                    yield Completed(reason="load")
                    return
                async with tracked.cancellable():
                    prompt = await generate_prompt(request, model, lease)
                events = self._generate(request, model, prompt, lease, tracked, load_ns, started_ns)
                async with aclosing(events):
                    async for event in events:
                        yield event

    async def _generate(
        self,
        request: ChatRequest | GenerateRequest,
        model: ResolvedModel,
        prompt: PreparedPrompt,
        lease: Lease,
        tracked: OpenRequest,
        load_duration_ns: int,
        started_ns: int,
    ) -> AsyncGenerator[GenerationEvent, None]:
        if request.render_only:
            yield Rendered(prompt=prompt.text, n_images=prompt.n_images)
            return
        if prompt.n_images and not {"vision", "audio"} & set(model.capabilities):
            raise InvalidImage(
                "Multimodal data provided, but model does not support multimodal requests.",
                hint="Send the images to a model with the capability `vision`.",
            )
        run = GenerationRun(
            backend=lease.backend,
            tracked=tracked,
            model=model,
            prompt=prompt,
            new_call_id=new_call_id if model.template.kind == "go" else new_long_call_id,
            load_duration_ns=load_duration_ns,
            started_ns=started_ns,
        )
        async with aclosing(run.events()) as events:
            async for event in events:
                yield event

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """See `InferenceService.embed`."""
        async with self._requests.track(request.model, request.origin) as tracked:
            stored = await self._resolver.find(request.model)
            if not request.inputs and request.keep_alive_s == 0:
                await self._unload(stored.name.display())
                return EmbedResult(vectors=())
            model = await self._resolver.resolve_embed(request, stored)
            async with self._lease(model, request.keep_alive_s, tracked) as (lease, load_ns, started_ns):
                if not request.inputs:
                    return EmbedResult(vectors=())
                tracked.prefills()
                async with tracked.cancellable():
                    inputs, n_cut = request.inputs, 0
                    if model.asked_n_ctx is not None:
                        inputs, n_cut = await fitted(
                            lease.backend, inputs, asked=model.asked_n_ctx, truncate=request.truncate
                        )
                    vectors, n_tokens = await lease.backend.embed(inputs, truncate=request.truncate)
                    n_dropped = n_cut + await _n_cut_off(lease, inputs, n_tokens)
                tracked.n_prompt_tokens = sum(n_tokens)
                if request.n_dimensions > 0:
                    vectors = tuple(shortened(vector, request.n_dimensions) for vector in vectors)
                return EmbedResult(
                    vectors=vectors,
                    n_prompt_tokens=sum(n_tokens),
                    n_dropped_tokens=n_dropped,
                    n_ctx=lease.info.n_ctx if not n_cut else model.asked_n_ctx or 0,
                    total_duration_ns=time.perf_counter_ns() - started_ns,
                    load_duration_ns=load_ns,
                )

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """See `InferenceService.rerank`."""
        async with self._requests.track(request.model, request.origin) as tracked:
            stored = await self._resolver.find(request.model)
            model = await self._resolver.resolve_rerank(request, stored)
            async with self._lease(model, request.keep_alive_s, tracked) as (lease, load_ns, started_ns):
                tracked.prefills()
                async with tracked.cancellable():
                    ranking = await ranked(lease.backend, request)
                tracked.n_prompt_tokens = ranking.n_tokens
                return RerankResult(
                    ranking=ranking.ranked,
                    n_prompt_tokens=ranking.n_tokens,
                    n_dropped_tokens=ranking.n_dropped_tokens,
                    n_ctx=lease.info.n_ctx,
                    total_duration_ns=time.perf_counter_ns() - started_ns,
                    load_duration_ns=load_ns,
                )

    async def tokenize(self, model: str, text: str, *, add_special: bool = True) -> tuple[int, ...]:
        """See `InferenceService.tokenize`."""
        async with self._plain_lease(model, Origin("tokenize")) as lease:
            (tokens,) = await lease.backend.tokenize((text,), add_special=add_special)
            return tokens

    async def detokenize(self, model: str, tokens: tuple[int, ...]) -> str:
        """See `InferenceService.detokenize`."""
        async with self._plain_lease(model, Origin("detokenize")) as lease:
            return await lease.backend.detokenize(tokens)

    @asynccontextmanager
    async def _plain_lease(self, model: str, origin: Origin) -> AsyncGenerator[Lease, None]:
        """A model with its own options."""
        async with self._requests.track(model, origin) as tracked:
            resolved = await self._resolver.resolve_plain(model)
            async with self._lease(resolved, None, tracked) as (lease, _, _):
                yield lease

    @asynccontextmanager
    async def _lease(
        self, model: ResolvedModel, keep_alive_s: float | None, tracked: OpenRequest
    ) -> AsyncGenerator[tuple[Lease, int, int], None]:
        """A loaded model, how long getting it took in ns, and when the request began (`perf_counter_ns`)."""
        started_ns = time.perf_counter_ns()
        async with AsyncExitStack() as stack:
            async with tracked.cancellable():
                acquired = self._pool.acquire(model.target, keep_alive_s=keep_alive_s, on_wait=tracked.waits)
                lease = await stack.enter_async_context(acquired)
            yield lease, time.perf_counter_ns() - started_ns, started_ns

    async def _unload(self, name: str) -> Completed:
        await self._pool.unload(name)
        return Completed(reason="unload")


async def _n_cut_off(lease: Lease, inputs: tuple[str | tuple[int, ...], ...], n_used: tuple[int, ...]) -> int:
    """Tokens that embedding left out. Only an input that fills the context can have been cut."""
    n_dropped = 0
    for item, n_tokens in zip(inputs, n_used, strict=True):
        if n_tokens >= lease.info.n_ctx:
            tokens = (await lease.backend.tokenize((item,)))[0] if isinstance(item, str) else item
            n_dropped += max(0, len(tokens) - n_tokens)
    return n_dropped
