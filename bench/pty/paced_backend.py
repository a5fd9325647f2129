"""A backend that answers at a set pace, for measuring the workstation with its own server in its process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import ClassVar

from bench.pty.paced import pace_of, paced
from server.backends.base import GenerationDone, GenerationJob, TextDelta
from server.backends.fake import FakeBackend
from server.services.container import ServerServices


class PacedBackend(FakeBackend):
    """Answers the prompt's last question as `bench.pty.paced` says.

    Attributes:
        n_tokens: tokens of all answers in this process so far.
    """

    n_tokens: ClassVar[int] = 0

    @classmethod
    def take_over(cls) -> None:
        """Make every server of this process run its models on this backend."""
        ServerServices._new_backend = lambda _services, name: cls(name)  # type: ignore[method-assign, assignment, return-value]

    async def generate(self, job: GenerationJob) -> AsyncGenerator[TextDelta | GenerationDone, None]:
        """Answer; tokens that are due together come together."""
        prompt = "".join(piece for piece in job.prompt if isinstance(piece, str))
        n_output = 0
        async for tokens in paced(pace_of(prompt)):
            n_output += len(tokens)
            PacedBackend.n_tokens += len(tokens)
            yield TextDelta(text="".join(tokens), n_tokens=len(tokens))
        yield GenerationDone(
            reason="stop",
            n_prompt_tokens=len(prompt),
            n_cached_tokens=0,
            n_output_tokens=n_output,
            queue_duration_ns=0,
            prompt_duration_ns=1,
            output_duration_ns=1,
        )
