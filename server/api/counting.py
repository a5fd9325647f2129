"""How many tokens a prompt has, for the routes that only count."""

from __future__ import annotations

from contextlib import aclosing

import msgspec

from server.errors import InvalidRequest
from server.services.protocols import Services
from server.types.generation import ChatRequest
from server.wire.folding import fold


async def count_prompt_tokens(services: Services, request: ChatRequest) -> int:
    """Tokens of the prompt as it would be rendered for an answer, never shortened. Loads the model.

    Raises: what an answer would raise before it begins; InvalidRequest for an empty conversation.
    """
    asked = msgspec.structs.replace(request, render_only=True, truncate=False)
    async with aclosing(services.inference.chat(asked)) as events:
        answer = await fold(events)
    if answer.rendered is None:
        raise InvalidRequest("there is no conversation to count")
    return len(await services.inference.tokenize(request.model, answer.rendered.prompt))
