"""Responses of `/v1/responses` that are kept for later ones to follow."""

from __future__ import annotations

import msgspec

from server.types.messages import JsonObject


class KeptResponse(msgspec.Struct, frozen=True):
    """A response object, and the items of the conversation that its request added."""

    body: JsonObject
    items: list[JsonObject]

    @property
    def id(self) -> str:
        """Identifier of the response."""
        return str(self.body["id"])

    @property
    def previous_id(self) -> str:
        """Identifier of the response that it follows, "" for none."""
        return self.body.get("previous_response_id") or ""
