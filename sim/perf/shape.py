"""The shape of one step, as the engine counts it and the timer prices it."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_CAPS = 2
"""How many distinct limits of attended context (windows, budgets) one model may declare."""


@dataclass(eq=False, slots=True)
class StepShape:
    """What one rank computes in one step. All tokens; updated in place by the engine.

    `context_tokens` is Σ over decoding sequences of the tokens that each attends to, the new one
    included. `capped_tokens[i]` is the same sum with every term limited to the i-th cap of the
    model; `below[i]` counts the sequences still under that cap, by which the sum grows per step.
    """

    decodes: int = 0
    context_tokens: int = 0
    prefills: int = 0
    prefill_tokens: int = 0
    prefill_pairs: int = 0
    """Query-key pairs of all chunks: Σ t·o + t(t+1)/2 for a chunk of t tokens at offset o."""
    prefill_kv_tokens: int = 0
    """Keys that the chunks read: Σ (o + t)."""
    sampled: int = 0
    """Rows of the language-model head: decodes plus prompts that finish."""
    capped_tokens: list[int] = field(default_factory=lambda: [0] * MAX_CAPS)
    below: list[int] = field(default_factory=lambda: [0] * MAX_CAPS)
    capped_pairs: list[int] = field(default_factory=lambda: [0] * MAX_CAPS)

    @property
    def tokens(self) -> int:
        """Tokens that pass through the weight matrices."""
        return self.decodes + self.prefill_tokens

    def add_prompt(self, offset: int, tokens: int, caps: tuple[int, ...], *, last: bool) -> None:
        """Add a chunk of a prompt; with its `last` one a token is sampled."""
        self.prefills += 1
        self.prefill_tokens += tokens
        self.prefill_pairs += pairs(offset, tokens)
        self.prefill_kv_tokens += offset + tokens
        self.sampled += last
        for i, cap in enumerate(caps):
            self.capped_pairs[i] += capped_pairs(offset, tokens, cap)

    def drop_prefills(self) -> None:
        """Take the prompt chunks out again."""
        self.sampled = self.decodes
        self.prefills = self.prefill_tokens = self.prefill_pairs = self.prefill_kv_tokens = 0
        for i in range(MAX_CAPS):
            self.capped_pairs[i] = 0


def pairs(offset: int, tokens: int) -> int:
    """Causal query-key pairs of a chunk of `tokens` behind `offset` cached ones."""
    return tokens * offset + tokens * (tokens + 1) // 2


def capped_pairs(offset: int, tokens: int, cap: int) -> int:
    """The same with every query limited to its last `cap` keys."""
    growing = min(max(cap - offset, 0), tokens)
    return growing * offset + growing * (growing + 1) // 2 + (tokens - growing) * cap
