"""A request, and what a server can know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends. Immutable; `output_tokens` is known to the sampler alone."""

    number: int
    """In order of arrival, from 0."""
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    block_ids: Sequence[int] = ()
    """Prefix-block ids of the prompt, one per `block_tokens` tokens (the last block may be
    partial): the same id means the same tokens up to the end of that block."""
    block_tokens: int = 0
    """Tokens per prefix block; 0 where the trace has none."""
    max_tokens: int | None = None
    """What the client declared as the longest answer it takes; None if it did not say."""
    engine: int | None = None
    """Number of the engine that it must go to; None = the router's choice."""


class Ask(Protocol):
    """What routers and schedulers see of a request: never its true output length.

    A `Request` is one, seen through a keyhole: the type checker refuses whoever looks further.
    """

    @property
    def number(self) -> int: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def block_ids(self) -> Sequence[int]: ...
    @property
    def block_tokens(self) -> int: ...
    @property
    def max_tokens(self) -> int | None: ...
    @property
    def engine(self) -> int | None: ...


class Happening(Enum):
    """What a source hears of its requests: perhaps a first token, then exactly one end."""

    FIRST_TOKEN = auto()
    FINISHED = auto()
    REJECTED = auto()
    FAILED = auto()
    CANCELLED = auto()


class Source(Protocol):
    """Clients. The simulation asks for the next arrival and tells what became of requests.

    Arrivals are handed out in order of time. A source that has nothing to send now but may after a
    happening (closed loop, sessions, agents) returns None from `peek` and is asked again after the
    next `on_event`.
    """

    @property
    def listens(self) -> bool:
        """Whether what becomes of its requests changes what it sends."""

    @property
    def block_tokens(self) -> int:
        """Tokens per prefix block of its requests; 0 when they name none."""

    @property
    def expected(self) -> int:
        """How many requests it will send in all (for progress bars)."""

    def peek(self) -> float | None:
        """Arrival time of the next request, or None when there is none at present."""

    def take(self) -> Request:
        """The next request. Only after `peek` gave a time."""

    def on_event(self, what: Happening, request: Request, now_s: float) -> None:
        """Hear what became of a request."""
