"""From a model's name and a request's options to everything that is needed to serve it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from server.errors import CapabilityMissing, Forbidden, InvalidRequest, ModelNotFound
from server.prompts.call_grammar import MAX_CALLS, call_grammar
from server.prompts.choice import chat_template
from server.prompts.grammar import grammar_for
from server.prompts.output import parser_marks
from server.prompts.template import PromptTemplate
from server.runners.pool import LoadTarget
from server.services.load_plan import LoadPlanner
from server.settings import Settings
from server.storage.store import ModelStore, StoredModel
from server.types.generation import ChatRequest, EmbedRequest, GenerateRequest, SamplingParams, Think
from server.types.messages import Tool
from server.types.models import Capability
from server.types.names import ModelName, split_source
from server.types.options import OPTIONS, OptionValue, parse_options, sampling_params, unknown_options
from server.types.quoting import go_quote
from server.types.ranking import RerankRequest

_log = logging.getLogger("olla")

K = TypeVar("K")
V = TypeVar("V")

CLOUD_DISABLED = "ollama cloud is disabled: remote model is unavailable"


MAX_KNOWN = 256
LOAD_OPTIONS = tuple(spec.name for spec in OPTIONS if spec.load_time)

_MAX_NAMES, _MAX_NAME_CHARS = 5, 40
"""So many options that do not exist are named in a line of the log, cut to so many characters."""

_TargetKey = tuple[ModelName, str, tuple[tuple[str, OptionValue], ...], bool, bool]


class ResolvedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One request's view of a model.

    Attributes:
        think: None when nothing was asked and the model cannot; else off (False) or on (True or a level).
        adds_bos: the tokenizer puts BOS in front.
        is_chat: the template makes the prompt, so that thoughts or calls may come before an answer.
        must_call: the answer is calls of `tools`, and `sampling.grammar` sees to it.
        one_call: the answer ends with its first call.
        think_budget: most tokens of reasoning, None for no bound.
        wants_context: the reply carries the token ids of prompt and answer.
        asked_n_ctx: `num_ctx` of a model for whole inputs where it was asked for, before any bound.
    """

    stored: StoredModel
    target: LoadTarget
    template: PromptTemplate
    sampling: SamplingParams
    capabilities: tuple[Capability, ...]
    think: Think = None
    tools: tuple[Tool, ...] = ()
    adds_bos: bool = False
    is_chat: bool = False
    must_call: bool = False
    one_call: bool = False
    think_budget: int | None = None
    wants_context: bool = False
    asked_n_ctx: int | None = None

    @property
    def family(self) -> str:
        """Model family as the store's config names it."""
        return self.stored.config.model_family

    @property
    def parser_name(self) -> str:
        """Built-in parser that the model asks for, "" for none."""
        return self.stored.config.parser


class Resolver:
    """Finds models and works out how a request uses them."""

    def __init__(
        self,
        store: ModelStore,
        settings: Settings,
        planner: LoadPlanner,
        install_bundled: Callable[[str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._settings = settings
        self._planner = planner
        self._install_bundled = install_bundled
        # A manifest's digest stands for all of its files, which take as long to read as a short answer.
        self._known_abilities: dict[str, tuple[PromptTemplate, tuple[Capability, ...]]] = {}
        self._known_targets: dict[_TargetKey, LoadTarget] = {}

    async def find(self, name: str) -> StoredModel:
        """The stored model of that name; a bundled one is installed when it is asked for first.

        Raises: InvalidModelName, ModelNotFound, Forbidden for a cloud model.
        """
        plain, source = split_source(name)
        if source == "cloud":
            raise Forbidden(CLOUD_DISABLED)
        parsed = ModelName.parse(plain)
        # A look at few files takes less time than it takes to hand it to a thread.
        if (known := self._store.known(parsed)) is not None:
            return known
        try:
            return await asyncio.to_thread(self._store.find, parsed)
        except ModelNotFound:
            missing = ModelNotFound(name, hint="`olla list` shows the models that are here.")
        try:
            await self._install_bundled(parsed.display())
        except ModelNotFound:
            raise missing from None
        return await asyncio.to_thread(self._store.find, parsed)

    async def resolve_chat(self, request: ChatRequest, stored: StoredModel) -> ResolvedModel:
        """Check what a conversation needs. Raises: CapabilityMissing, InvalidOption, InvalidFormat."""
        template, capabilities = await self._abilities(stored)
        think = _resolved_think(
            request.think, request.model, capabilities, drop=request.drop_think_when_incapable
        )
        _require(request.model, stored, capabilities, "chat", ["tools"] if request.tools else [])
        return await self._resolved(
            request, stored, template, capabilities, think=think, is_chat=True, tools=request.tools
        )

    async def resolve_generate(self, request: GenerateRequest, stored: StoredModel) -> ResolvedModel:
        """Check what a completion needs. Raises: as `resolve_chat`, and InvalidRequest."""
        template, capabilities = await self._abilities(stored)
        if request.raw and (request.template or request.system or request.context):
            raise InvalidRequest("raw mode does not support template, system, or context")
        think = _resolved_think(request.think, request.model, capabilities)
        _require(request.model, stored, capabilities, "generate", ["insert"] if request.suffix else [])
        return await self._resolved(
            request,
            stored,
            template,
            capabilities,
            think=think,
            is_chat=not (request.raw or request.suffix),
            wants_context=not request.raw,
        )

    async def resolve_embed(self, request: EmbedRequest, stored: StoredModel) -> ResolvedModel:
        """How to load a model for embeddings. Raises: InvalidOption, CapabilityMissing."""
        template, capabilities = await self._abilities(stored)
        if request.inputs and "rerank" in capabilities:
            raise CapabilityMissing(
                f'"{request.model}" does not support embeddings: it ranks documents, with /api/rerank'
            )
        return await self._resolved_whole(request.options, stored, template, capabilities)

    async def resolve_rerank(self, request: RerankRequest, stored: StoredModel) -> ResolvedModel:
        """How to load a model that ranks. Raises: InvalidOption, CapabilityMissing."""
        template, capabilities = await self._abilities(stored)
        if "rerank" not in capabilities:
            raise CapabilityMissing(
                f'"{request.model}" does not support rerank: it takes a model whose pooling is "rank"'
            )
        return await self._resolved_whole(request.options, stored, template, capabilities)

    async def _resolved_whole(
        self,
        request_options: dict[str, Any],
        stored: StoredModel,
        template: PromptTemplate,
        capabilities: tuple[Capability, ...],
    ) -> ResolvedModel:
        """A model for whole inputs, which have one result each."""
        options = _options(stored, request_options)
        target = await self._plan(stored, options, embedding=True, vision=False)
        n_ctx = options.get("num_ctx")
        return ResolvedModel(
            stored=stored,
            target=target,
            template=template,
            sampling=SamplingParams(),
            capabilities=capabilities,
            asked_n_ctx=n_ctx if isinstance(n_ctx, int) else None,
        )

    async def resolve_plain(self, name: str) -> ResolvedModel:
        """A model with its own options, to tokenise with. Raises: as `find`."""
        stored = await self.find(name)
        template, capabilities = await self._abilities(stored)
        options = parse_options(stored.params)
        embedding = bool({"embedding", "rerank"} & set(capabilities))
        target = await self._plan(stored, options, embedding=embedding, vision="vision" in capabilities)
        return ResolvedModel(
            stored=stored,
            target=target,
            template=template,
            sampling=SamplingParams(),
            capabilities=capabilities,
        )

    async def _abilities(self, stored: StoredModel) -> tuple[PromptTemplate, tuple[Capability, ...]]:
        known = self._known_abilities.get(stored.digest)
        if known is None:
            known = await asyncio.to_thread(self._read_abilities, stored)
            _keep(self._known_abilities, stored.digest, known)
        return known

    async def _plan(
        self, stored: StoredModel, options: dict[str, OptionValue], *, embedding: bool, vision: bool
    ) -> LoadTarget:
        asked = tuple((name, options[name]) for name in LOAD_OPTIONS if name in options)
        key = (stored.name, stored.digest, asked, embedding, vision)
        target = self._known_targets.get(key)
        if target is None:
            target = await self._planner.plan(stored, options, embedding=embedding, vision=vision)
            _keep(self._known_targets, key, target)
        return target

    def _read_abilities(self, stored: StoredModel) -> tuple[PromptTemplate, tuple[Capability, ...]]:
        template = chat_template(
            stored.template,
            stored.metadata().chat_template,
            prefer_go=self._settings.go_template,
            has_renderer=bool(stored.config.renderer or stored.config.parser),
        )
        return template, stored.capabilities()

    async def _resolved(
        self,
        request: ChatRequest | GenerateRequest,
        stored: StoredModel,
        template: PromptTemplate,
        capabilities: tuple[Capability, ...],
        *,
        think: Think,
        is_chat: bool = False,
        wants_context: bool = False,
        tools: tuple[Tool, ...] = (),
    ) -> ResolvedModel:
        options = _options(stored, _present(request.options))
        target = await self._plan(stored, options, embedding=False, vision="vision" in capabilities)
        return ResolvedModel(
            stored=stored,
            target=target,
            template=template,
            sampling=_sampling(
                request,
                options,
                template,
                parser_name=stored.config.parser,
                shifts=stored.config.model_family != "deepseek2",
            ),
            capabilities=capabilities,
            think=think,
            tools=tools,
            adds_bos=stored.metadata().adds_bos,
            is_chat=is_chat,
            must_call=isinstance(request, ChatRequest) and must_call(request),
            one_call=isinstance(request, ChatRequest) and not request.parallel_tool_calls,
            think_budget=request.think_budget if isinstance(request, ChatRequest) else None,
            wants_context=wants_context,
        )


def _keep(known: dict[K, V], key: K, value: V) -> None:
    """Remember something, and forget the oldest where there is too much."""
    while len(known) >= MAX_KNOWN:
        del known[next(iter(known))]
    known[key] = value


def _present(options: dict[str, Any]) -> dict[str, Any]:
    """A request's option of value None does not hide the model's own."""
    return {name: value for name, value in options.items() if value is not None}


def _sampling(
    request: ChatRequest | GenerateRequest,
    options: dict[str, OptionValue],
    template: PromptTemplate,
    *,
    parser_name: str,
    shifts: bool,
) -> SamplingParams:
    """Sampling for one request.

    `num_predict` 0 means "without a bound" where Ollama renders the prompt itself, and nothing at all where
    the GGUF's Jinja template renders a chat; both are kept.
    """
    base = sampling_params(options)
    if isinstance(request, GenerateRequest):
        zero_is_none, prompt_logprobs, has_budget = request.zero_is_none, request.prompt_logprobs, False
    else:
        zero_is_none, prompt_logprobs = template.kind != "go", False
        has_budget = request.think_budget is not None
    return msgspec.structs.replace(
        base,
        n_predict=base.n_predict if base.n_predict or zero_is_none else -1,
        context_shift=request.shift and shifts,
        grammar=_grammar(request, template, parser_name),
        preserved_tokens=_preserved_tokens(request, template, parser_name),
        logprobs=request.logprobs,
        n_top_logprobs=request.n_top_logprobs if request.logprobs else 0,
        prompt_logprobs=prompt_logprobs,
        reports_at_once=has_budget,
        logit_bias=tuple(request.logit_bias.items()),
    )


def _options(stored: StoredModel, asked: dict[str, Any]) -> dict[str, OptionValue]:
    """The model's options and over them those of a request. Raises: InvalidOption."""
    if unknown := unknown_options(asked):
        names = ", ".join(go_quote(name[:_MAX_NAME_CHARS]) for name in unknown[:_MAX_NAMES])
        _log.warning("a request for %s has options that do not exist: %s", stored.name.display(), names)
    return parse_options({**stored.params, **asked})


def _grammar(request: ChatRequest | GenerateRequest, template: PromptTemplate, parser_name: str) -> str:
    """GBNF of what the answer must be, "" for free text. Raises: InvalidFormat, InvalidRequest.

    Calls that are required leave no room for content, and so none for a format.
    """
    if isinstance(request, ChatRequest) and must_call(request):
        return call_grammar(
            template.source,
            template.tool_call_tag or "{",
            request.tools,
            parser_name,
            n_calls=MAX_CALLS if request.parallel_tool_calls else 1,
        )
    return grammar_for(request.format)


def _preserved_tokens(
    request: ChatRequest | GenerateRequest, template: PromptTemplate, parser_name: str
) -> tuple[str, ...]:
    """The texts that the parser of the answer needs to see, where the model writes them as control tokens."""
    has_tools = isinstance(request, ChatRequest) and bool(request.tools)
    return parser_marks(template, parser_name, has_tools=has_tools)


def must_call(request: ChatRequest) -> bool:
    """Whether the answer has to be calls of tools."""
    return request.tool_choice == "required" and bool(request.tools)


def _resolved_think(
    think: Think, name: str, capabilities: tuple[Capability, ...], *, drop: bool = False
) -> Think:
    """What `think` means for this model: unset is on where the model can think, as in Ollama.

    Raises: CapabilityMissing when it is asked for and the model cannot.
    """
    can = "thinking" in capabilities
    if think is None:
        return True if can else None
    if think and not can:
        if drop:
            return None
        raise CapabilityMissing(
            f'"{name}" does not support thinking', hint="Leave `think` out, or choose a model that can think."
        )
    return think


def _require(
    name: str, stored: StoredModel, capabilities: tuple[Capability, ...], task: str, others: list[Capability]
) -> None:
    """Raises: CapabilityMissing in Ollama's words when the model lacks what the task needs."""
    if "completion" not in capabilities:
        raise CapabilityMissing(f'"{name}" does not support {task}')
    missing = [capability for capability in others if capability not in capabilities]
    if missing:
        raise CapabilityMissing(f"{stored.name.full()} does not support {' '.join(missing)}")
