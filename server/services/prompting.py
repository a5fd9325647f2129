"""From a request to the prompt that the model gets: history, rendering, truncation."""

from __future__ import annotations

import secrets

import msgspec

from server.backends.base import Backend, PromptPiece
from server.errors import ContextExceeded, InvalidTemplate
from server.prompts.conversation import image_mark, split_at_images
from server.prompts.history import strip_history_thinking
from server.prompts.template import PromptTemplate, RenderInput, go_template
from server.prompts.truncate import fit, is_surely_short
from server.runners.pool import Lease
from server.services.resolve import ResolvedModel
from server.types.generation import ChatRequest, GenerateRequest, MediaFile, Think
from server.types.messages import Message

N_TOKENS_PER_IMAGE = 768
"""What an image counts for while history is dropped; Ollama's figure."""


class PreparedPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt ready to be decoded.

    Attributes:
        text: the prompt as rendered, before any token was cut.
        pieces: what the backend gets.
        n_dropped_messages, n_dropped_tokens: what truncation left out; the tokens include the messages'.
        n_ctx: tokens that the context holds.
    """

    text: str
    pieces: tuple[PromptPiece, ...]
    n_images: int = 0
    n_dropped_messages: int = 0
    n_dropped_tokens: int = 0
    n_ctx: int = 0


class _Pictures(msgspec.Struct):
    """The files of a request while its prompt is made.

    Attributes:
        key: part of their marks in the prompt; a new one each time.
        files: those whose messages are in the prompt, in order.
    """

    key: str
    files: tuple[bytes, ...] = ()

    def placed(self, prompt: PreparedPrompt) -> PreparedPrompt:
        """The prompt with the files in place of their marks. Raises: InvalidTemplate when one has no mark."""
        if not self.files:
            return prompt
        parts = split_at_images(prompt.text, len(self.files), self.key)
        if {part for part in parts if isinstance(part, int)} != set(range(len(self.files))):
            raise InvalidTemplate(
                "the model's template leaves out a picture",
                hint="Send pictures in messages of the user, or give the model a template that shows them.",
            )
        return msgspec.structs.replace(
            prompt,
            text="".join(part if isinstance(part, str) else image_mark(part) for part in parts),
            pieces=tuple(MediaFile(self.files[part]) if isinstance(part, int) else part for part in parts),
        )


def _pictures(messages: tuple[Message, ...]) -> _Pictures:
    files = _files(messages)
    return _Pictures(f"{secrets.token_hex(8)}-" if files else "", files)


def _files(messages: tuple[Message, ...]) -> tuple[bytes, ...]:
    return tuple(file for message in messages for file in message.images)


async def chat_prompt(request: ChatRequest, model: ResolvedModel, lease: Lease) -> PreparedPrompt:
    """The prompt for a conversation.

    Stored messages come first and the model's SYSTEM before them, unless the request begins with its own.
    Raises: InvalidTemplate, ContextExceeded.
    """
    stored = model.stored
    messages = (*stored.messages, *with_tool_names(request.messages))
    if stored.system and request.messages[0].role != "system":
        messages = (Message(role="system", content=stored.system), *messages)
    messages = strip_history_thinking(messages, family=model.family, model_name=stored.name.model)
    return await _fitted(request, model, lease, messages, model.template, prefix="")


async def generate_prompt(request: GenerateRequest, model: ResolvedModel, lease: Lease) -> PreparedPrompt:
    """The prompt for a completion.

    `raw` leaves it alone; a suffix or a template of the request's own fill that template directly; all else
    is a conversation of one turn. `context` is turned back into text and put in front.
    Raises: InvalidTemplate, ContextExceeded.
    """
    if request.raw:
        return await _raw(request, model, lease)
    prefix = await lease.backend.detokenize(request.context) if request.context else ""
    user = Message(role="user", content=request.prompt, images=request.images)
    pictures = _pictures((user,))
    if request.suffix:
        text = prefix + model.template.render(_render_input(request, model, lease, (user,), pictures))
        return pictures.placed(await _uncut(request, model, lease, text, len(request.images)))
    system = model.stored.system if request.system is None else request.system
    messages: tuple[Message, ...] = (user,)
    if not request.context:
        messages = (*model.stored.messages, *messages)
    if system:
        messages = (Message(role="system", content=system), *messages)
    if request.template is not None:
        template = go_template(request.template)
        text = prefix + template.render(_render_input(request, model, lease, messages, pictures))
        return pictures.placed(await _uncut(request, model, lease, text, len(request.images)))
    return await _fitted(request, model, lease, messages, model.template, prefix=prefix)


def with_tool_names(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Tool results that only carry the id of their call get the name of the function called."""
    names: dict[str, str] = {}
    completed: list[Message] = []
    for message in messages:
        names.update({call.id: call.name for call in message.tool_calls if call.id})
        if message.role == "tool" and not message.tool_name and message.tool_call_id in names:
            message = msgspec.structs.replace(message, tool_name=names[message.tool_call_id])
        completed.append(message)
    return tuple(completed)


async def _fitted(
    request: ChatRequest | GenerateRequest,
    model: ResolvedModel,
    lease: Lease,
    messages: tuple[Message, ...],
    template: PromptTemplate,
    *,
    prefix: str,
) -> PreparedPrompt:
    pictures = _pictures(messages)

    def render(kept: tuple[Message, ...]) -> str:
        return prefix + template.render(_render_input(request, model, lease, kept, pictures))

    async def count_tokens(texts: list[str]) -> list[int]:
        return [len(tokens) for tokens in await lease.backend.tokenize(tuple(texts))]

    fitted = await fit(
        messages,
        render,
        count_tokens,
        lease.info.n_ctx - 1,  # the engine needs room for a token
        truncate=request.truncate,
        n_tokens_per_image=N_TOKENS_PER_IMAGE if "vision" in model.capabilities else 0,
    )
    pictures.files = _files(fitted.messages)
    n_images = len(pictures.files)
    native_chat = template.kind == "jinja" and isinstance(request, ChatRequest)
    if native_chat:
        pieces: tuple[PromptPiece, ...] = (fitted.prompt,)
        n_cut = 0
    else:
        pieces, n_cut = await _cut(request, model, lease.backend, fitted.prompt, lease.info.n_ctx, n_images)
    return pictures.placed(
        PreparedPrompt(
            text=fitted.prompt,
            pieces=pieces,
            n_images=n_images,
            n_dropped_messages=fitted.n_dropped,
            n_dropped_tokens=fitted.n_dropped_tokens + n_cut,
            n_ctx=lease.info.n_ctx,
        )
    )


async def _raw(request: GenerateRequest, model: ResolvedModel, lease: Lease) -> PreparedPrompt:
    """The prompt as it is; files that it does not mention by `[img-N]` stand in front of it.

    Raises: ContextExceeded.
    """
    if request.prompt_tokens:
        tokens, n_ctx = request.prompt_tokens, lease.info.n_ctx
        cut = _cut_tokens(tokens, model, n_ctx) if request.truncate else tokens
        n_dropped = len(tokens) - len(cut)
        return PreparedPrompt(text=request.prompt, pieces=(cut,), n_dropped_tokens=n_dropped, n_ctx=n_ctx)
    n_images = len(request.images)
    mentioned = set(split_at_images(request.prompt, n_images))
    marks = "".join(image_mark(index) for index in range(n_images) if index not in mentioned)
    prompt = await _uncut(request, model, lease, marks + request.prompt, n_images)
    return _Pictures("", request.images).placed(prompt)


async def _uncut(
    request: GenerateRequest, model: ResolvedModel, lease: Lease, text: str, n_images: int
) -> PreparedPrompt:
    pieces, n_cut = await _cut(request, model, lease.backend, text, lease.info.n_ctx, n_images)
    return PreparedPrompt(
        text=text, pieces=pieces, n_images=n_images, n_dropped_tokens=n_cut, n_ctx=lease.info.n_ctx
    )


async def _cut(
    request: ChatRequest | GenerateRequest,
    model: ResolvedModel,
    backend: Backend,
    text: str,
    n_ctx: int,
    n_images: int,
) -> tuple[tuple[PromptPiece, ...], int]:
    """The prompt, cut in its middle if it is too long, and how many tokens were cut.

    A text of fewer bytes than tokens fit cannot be too long. Raises: ContextExceeded.
    """
    if not request.truncate or n_images or is_surely_short(text, n_ctx - 1):
        return (text,), 0
    (tokens,) = await backend.tokenize((text,))
    cut = _cut_tokens(tokens, model, n_ctx)
    return (cut,), len(tokens) - len(cut)


def _cut_tokens(tokens: tuple[int, ...], model: ResolvedModel, n_ctx: int) -> tuple[int, ...]:
    """A prompt, cut in its middle if it is too long.

    Ollama's rule: the first num_keep tokens stay (and BOS), and of the end as many as leave half of what
    remains of the context free. Raises: ContextExceeded where a prompt is never cut.
    """
    if len(tokens) <= n_ctx - 1:
        return tokens
    if not model.sampling.context_shift:
        raise ContextExceeded(
            f"the prompt has {len(tokens)} tokens and the context holds {n_ctx}; shorten the prompt, or "
            "raise num_ctx",
            hint="Without shift a prompt is never cut.",
            n_prompt_tokens=len(tokens),
            n_ctx=n_ctx,
        )
    n_keep = kept_tokens(model.sampling.n_keep, len(tokens), n_ctx, has_bos=model.adds_bos)
    n_left = n_ctx - max((n_ctx - n_keep) // 2, 1)
    n_tail = n_left - n_keep
    return tokens[:n_keep] + (tokens[-n_tail:] if n_tail > 0 else ())


def kept_tokens(num_keep: int, n_tokens: int, n_ctx: int, *, has_bos: bool) -> int:
    """Tokens at the start of a prompt that truncation keeps; negative `num_keep` keeps all that fit."""
    n_keep = n_tokens if num_keep < 0 else num_keep + has_bos
    return min(n_keep, n_ctx - 1)


def _render_input(
    request: ChatRequest | GenerateRequest,
    model: ResolvedModel,
    lease: Lease,
    messages: tuple[Message, ...],
    pictures: _Pictures,
) -> RenderInput:
    return RenderInput(
        messages=messages,
        tools=request.tools if isinstance(request, ChatRequest) else (),
        think=model.think,
        suffix=request.suffix if isinstance(request, GenerateRequest) else "",
        bos_text=lease.info.bos_text,
        eos_text=lease.info.eos_text,
        image_key=pictures.key,
    )


def thinks(think: Think) -> bool:
    """Whether a resolved `think` turns reasoning on."""
    return bool(think)
