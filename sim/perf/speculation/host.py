"""Host time that speculation adds to an engine's steps, beside what `engine_profiles/` says of
plain ones: samples are compared and rejected drafts freed between verify and draft, each drafting
pass picks its candidates and gathers its inputs, and a tree is built and masked."""

from __future__ import annotations

from dataclasses import dataclass

_FITTED = (
    "fitted to three of the five draft shapes of Llama-3.1-8B under SGLang with EAGLE-3 (SpecForge "
    "spec_bundle, batch 1): `sim validate spec`"
)


@dataclass(frozen=True, slots=True)
class SpeculationHost:
    """Seconds that no GPU work of the price list hides."""

    verify_s: float = 0.0
    """Per verify step."""
    draft_s: float = 0.0
    """Per drafting pass."""
    tree_s: float = 0.0
    """Per verify step of a tree."""
    source: str = "assumed: none"

    def step_s(self, passes: int, topk: int) -> float:
        """Of a verify step with so many drafting passes."""
        return self.verify_s + passes * self.draft_s + (topk > 1) * self.tree_s


SGLANG = SpeculationHost(7.5e-4, 1.3e-4, 9.6e-4, _FITTED)
HOSTS = {"sglang-0.5": SGLANG}
"""By engine profile."""


def speculation_host(engine_profile: str | None) -> SpeculationHost:
    """The figures of an engine; SGLang's for one without; none for a timer without an engine."""
    if engine_profile is None:
        return SpeculationHost()
    if engine_profile in HOSTS:
        return HOSTS[engine_profile]
    source = f"extrapolated: {engine_profile} taken like sglang-0.5"
    return SpeculationHost(SGLANG.verify_s, SGLANG.draft_s, SGLANG.tree_s, source)
