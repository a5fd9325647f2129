"""Kept responses, and the conversations that they make up."""

from __future__ import annotations

import asyncio

from server.errors import InvalidRequest, NotFound
from server.storage.response_store import ResponseStore
from server.types.messages import JsonObject
from server.types.responses import KeptResponse

MAX_CHAIN = 1_000
"""Most responses that follow one another; a longer conversation fits no context."""


class Responses:
    """See `server.services.protocols.ResponseArchive`."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def keep(self, response: KeptResponse) -> None:
        """See `ResponseArchive.keep`."""
        await asyncio.to_thread(self._store.keep, response)

    async def get(self, response_id: str) -> KeptResponse:
        """See `ResponseArchive.get`."""
        found = await asyncio.to_thread(self._store.get, response_id)
        if found is None:
            raise NotFound(f"Response with id '{response_id}' not found.")
        return found

    async def delete(self, response_id: str) -> None:
        """See `ResponseArchive.delete`."""
        if not await asyncio.to_thread(self._store.delete, response_id):
            raise NotFound(f"Response with id '{response_id}' not found.")

    async def conversation(self, response_id: str) -> list[JsonObject]:
        """See `ResponseArchive.conversation`."""
        return await asyncio.to_thread(self._conversation, response_id)

    def _conversation(self, response_id: str) -> list[JsonObject]:
        turns: list[list[JsonObject]] = []
        next_id = response_id
        while next_id:
            found = self._store.get(next_id)
            if found is None:
                raise InvalidRequest(
                    f"Previous response with id '{next_id}' not found.",
                    hint="It was not kept, was deleted, or is too old; send the whole conversation.",
                )
            if len(turns) == MAX_CHAIN:
                raise InvalidRequest(f"more than {MAX_CHAIN} responses follow one another")
            turns.append([*found.items, *found.body["output"]])
            next_id = found.previous_id
        return [item for turn in reversed(turns) for item in turn]
