"""Parameters and operations of the GPT of the Megatron-LM papers, in closed form.

arXiv 2104.04473 (PTD-P), section 5.1 and its appendix: l layers, width h, 4h feed-forward, all
heads with keys of their own, V vocabulary, s tokens per sequence, B sequences per iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Gpt:
    """A GPT by its dimensions."""

    layers: int
    hidden: int
    vocab: int = 51_200
    """Of the models of the paper, section 5.1."""
    sequence_tokens: int = 2048

    @property
    def params(self) -> float:
        """P = 12·l·h²·(1 + 13/(12·h) + (V + s)/(12·l·h)), equation 2."""
        n, h = self.layers, self.hidden
        rest = 13 / (12 * h) + (self.vocab + self.sequence_tokens) / (12 * n * h)
        return 12 * n * h * h * (1 + rest)

    def flops(self, sequences: int, *, recompute: bool = True) -> float:
        """Operations of one iteration.

        With recomputation of all layers F = 96·B·s·l·h²·(1 + s/(6·h) + V/(16·l·h)), equation 3;
        without it the layers' part is 72/96 of that, and the head's the same.
        """
        n, h, s = self.layers, self.hidden, self.sequence_tokens
        per_layer = (96 if recompute else 72) * sequences * s * n * h * h * (1 + s / (6 * h))
        return per_layer + 6 * sequences * s * h * self.vocab


def training_days(params: float, tokens: float, gpus: int, flops_per_s: float) -> float:
    """8·T·P/(n·X) in days, equation 4: T tokens, n GPUs at X FLOP/s each, with recomputation."""
    return 8 * tokens * params / (gpus * flops_per_s) / SECONDS_PER_DAY
