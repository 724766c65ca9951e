"""The only one who knows how long answers are."""

from __future__ import annotations

from dataclasses import dataclass, field

from sim.workload.request import Request


@dataclass(eq=False, slots=True)
class Sampler:
    """Output lengths of the requests in flight. Engines ask it when a sequence ends, and nobody
    else asks it anything."""

    _outputs: dict[int, int] = field(default_factory=dict)

    def learn(self, request: Request) -> None:
        """A request has come in."""
        self._outputs[request.number] = request.output_tokens

    def remaining(self, number: int, generated: int) -> int:
        """Tokens that request `number` still gets after `generated` of them."""
        return self._outputs[number] - generated

    def forget(self, number: int) -> None:
        """The request has ended."""
        del self._outputs[number]
