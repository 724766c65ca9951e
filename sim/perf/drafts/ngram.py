"""Prompt lookup: what followed the last few tokens earlier in the text is the draft. Nothing runs
on a GPU; the search is on the host, in the critical path, and as it needs the tokens of the last
step, the engine schedules in step with the GPU (vLLM pull requests 24986 and 29184)."""

from __future__ import annotations

from sim.catalog.model import Model
from sim.perf.acceptances import AcceptanceSetting
from sim.perf.drafts import DraftHost, Drafting, DraftTokens
from sim.perf.engine_profile import load_engine_profile
from sim.perf.layouts import Layout
from sim.perf.speculation.acceptance import Tree
from sim.perf.task import Formats
from sim.settings import settings
from sim.units import Duration

SYNCHRONOUS = "vllm-0.12"
"""The profile of a vLLM that schedules in step with the GPU."""


@settings
class Ngram:
    """Drafts from the text itself."""

    acceptance: AcceptanceSetting
    """How readily they are accepted; the steps at which nothing is found included."""
    draft_tokens: DraftTokens = 3
    """Drafts per verify step."""
    step_s: Duration | None = None
    """Host time per verify step; that of synchronous scheduling when left out."""
    sequence_s: Duration | None = None
    """The same per sequence."""

    @property
    def layout(self) -> Layout | None:
        """Nowhere."""
        return None

    @property
    def apart(self) -> bool:
        """No."""
        return False

    def drafting(self, target: Model, formats: Formats) -> Drafting:
        """Nothing."""
        return Drafting()

    def tree(self, draft_tokens: int) -> Tree:
        """A chain."""
        return Tree.chain(draft_tokens)

    def host(self) -> DraftHost:
        """As given, else as vLLM's synchronous scheduling."""
        known = load_engine_profile(SYNCHRONOUS)
        step = known.step_s if self.step_s is None else self.step_s
        each = known.sequence_s if self.sequence_s is None else self.sequence_s
        given = self.step_s is not None and self.sequence_s is not None
        source = "scenario" if given else f"assumed: as synchronous scheduling of {known.name}"
        return DraftHost(step, each, source)

    def assumptions(self) -> list[dict[str, str]]:
        """The host's time."""
        host = self.host()
        value = f"{host.step_s} s + {host.sequence_s} s a sequence"
        row = {"what": "n-gram lookup", "value": value, "source": host.source}
        return [row, *self.acceptance.assumptions()]
