"""What a request passes before any engine hears of it: an HTTP server and a tokeniser.

The tokeniser takes prompts one after the other, so that a burst of long prompts queues for it; the
rest is a latency of its own for each request. The wait is part of `queue_s`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sim.settings import settings
from sim.units import Duration


@settings
class Frontend:
    """Nothing unless told otherwise: requests reach the router as they arrive."""

    request_s: Duration = 0.0
    """Latency of every request: parsing, hand-over between processes, the first answer's way."""
    prompt_token_s: Duration = 0.0
    """Seconds of the one tokeniser per prompt token."""

    def start(self) -> Desk | None:
        """The running desk; None where it would do nothing."""
        return Desk(self) if self.request_s or self.prompt_token_s else None


@dataclass(eq=False, slots=True)
class Desk:
    """Works through prompts in order of arrival."""

    settings: Frontend
    _free_s: float = field(default=0.0)

    def ready_s(self, now_s: float, prompt_tokens: int) -> float:
        """When a prompt that comes now has passed."""
        began = self._free_s if self._free_s > now_s else now_s
        self._free_s = began + prompt_tokens * self.settings.prompt_token_s
        return self._free_s + self.settings.request_s
