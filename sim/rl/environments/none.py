"""One turn: a prompt, an answer."""

from __future__ import annotations

from collections.abc import Callable

from sim.rl.environments import EnvironmentServices, Turn
from sim.rl.samples import Sample
from sim.settings import settings


class _OneTurn:
    def begin(self, sample: Sample) -> Turn:
        return Turn(sample.prompt_tokens, sample.response_tokens)

    def go_on(self, sample: Sample, proceed: Callable[[Sample, Turn], None]) -> bool:
        return False


@settings
class NoEnvironment:
    """No tools."""

    def start(self, services: EnvironmentServices) -> _OneTurn:
        """It keeps no state."""
        return _OneTurn()

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []
