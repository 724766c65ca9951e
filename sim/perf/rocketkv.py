"""RocketKV: which of a long prompt's keys and values are kept, and what a decode step reads.

"RocketKV: Accelerating Long-Context LLM Inference via Two-Stage KV Cache Compression",
arXiv 2502.14051v2, sections 3.5 and 3.6, and its code (NVlabs/RocketKV). At the end of prefill,
which is unchanged, stage 1 (SnapKV) keeps a subset of S/cʳ tokens for good. Every decode step then
selects (stage 2: page minima and maxima, some head dimensions) and attends to what it selected:
together it reads as much as t whole K/V pairs. Per KV group; S = prompt tokens, t = budget.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log2, sqrt

from sim.errors import ScenarioError

STAGE_1_WINDOW_TOKENS = 32
"""Last queries that vote in stage 1 (SnapKV), arXiv 2502.14051v2 and its code."""
STAGE_1_POOLING_TOKENS = 63
"""Width of the pooling over their votes, arXiv 2502.14051v2 and its code."""


def stage_1_exponent(compression: float) -> float:
    """r = min(0.2 + 0.06·log₂ c, 0.8): the share of the compression (as an exponent) that stage 1
    makes (section 3.6)."""
    return min(0.2 + 0.06 * log2(compression), 0.8)


@dataclass(frozen=True, slots=True)
class RocketKv:
    """The two stages for a prompt of `prompt_tokens` and a budget of `budget_tokens`.

    `multi_turn` is RocketKV-MT (section 3.5): stage 1 filters what a step sees, but everything is
    kept for later turns. The methods named after the paper's formulae are real-valued; those with
    `code_` in their name are what its code does with whole numbers.
    """

    prompt_tokens: int
    budget_tokens: int
    """Token budget t: K/V pairs read per step, half for selection, half for attention."""
    multi_turn: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.budget_tokens < self.prompt_tokens:
            raise ScenarioError(
                f"budget_tokens: {self.budget_tokens} must be at least 2 and below the "
                f"{self.prompt_tokens} tokens of the prompt; a shorter prompt is not compressed"
            )

    @property
    def compression(self) -> float:
        """c = S/t, the ratio of traffic: a step reads 1/c of the full cache."""
        return self.prompt_tokens / self.budget_tokens

    @property
    def exponent(self) -> float:
        """r of this compression."""
        return stage_1_exponent(self.compression)

    @property
    def stage_1(self) -> float:
        """Compression of stage 1, cʳ: S/cʳ tokens stay."""
        return float(self.compression**self.exponent)

    @property
    def stage_2(self) -> float:
        """Compression of stage 2, c^(1−r), split evenly between pages and head dimensions."""
        return float(self.compression ** (1.0 - self.exponent))

    @property
    def page_tokens(self) -> int:
        """Tokens of a page, ceil(c^((1−r)/2)); each keeps the minima and maxima of its keys."""
        return ceil(sqrt(self.stage_2))

    @property
    def head_part(self) -> float:
        """Compression along the head dimension: what the pages leave, c^(1−r) / page."""
        return self.stage_2 / self.page_tokens

    @property
    def storage(self) -> float:
        """KV bytes kept over those of the full cache: 1/cʳ + 2/c^((1+r)/2); 1 + 2/c^((1+r)/2) with
        `multi_turn`. The second term is the pages' minima and maxima."""
        kept = 1.0 if self.multi_turn else 1.0 / self.stage_1
        return kept + 2.0 / float(self.compression ** ((1.0 + self.exponent) / 2))

    @property
    def traffic(self) -> float:
        """KV bytes read per decode step over those of the full cache: 1/c, `multi_turn` or not."""
        return 1.0 / self.compression

    @property
    def wire(self) -> float:
        """KV bytes handed from prefill to decode over those of the full cache: the filtered set,
        which is what stage 1 keeps, `multi_turn` or not (that keeps the rest where it was made)."""
        return replace(self, multi_turn=False).storage

    # --- as the code rounds -----------------------------------------------------------------

    @property
    def code_kept_tokens(self) -> int:
        """Tokens that stage 1 keeps: int(S / cʳ)."""
        return int(self.prompt_tokens / self.stage_1)

    @property
    def code_page_tokens(self) -> int:
        """Tokens of a page: min(floor(kept/t), ceil(√(kept/t))), at least 1."""
        ratio = self.code_kept_tokens / self.budget_tokens
        return max(1, min(int(ratio), ceil(sqrt(ratio))))

    def code_channels(self, head_dim: int = 128) -> int:
        """Head dimensions that selection reads: round(head_dim · page · t / kept), at most all."""
        part = head_dim * self.code_page_tokens * self.budget_tokens / self.code_kept_tokens
        return min(head_dim, round(part))

    @property
    def code_top_k(self) -> int:
        """Whole K/V pairs that attention reads: t/2."""
        return self.budget_tokens // 2


def quest_storage(compression: float) -> float:
    """Storage of Quest over the full cache, 1 + 1/c: pages beside everything."""
    return 1.0 + 1.0 / compression


def sparq_storage() -> float:
    """Storage of SparQ over the full cache, 2: keys twice, in both orders."""
    return 2.0


def snapkv_storage(compression: float) -> float:
    """Storage of SnapKV alone over the full cache, 1/c."""
    return 1.0 / compression
