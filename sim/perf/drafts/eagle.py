"""EAGLE: one decoder layer that reads the target's hidden states drafts (EAGLE-3, arXiv
2503.01840).

Sizes as in EAGLE-3 checkpoints (SpecForge `configs/*-eagle3.json`): a dense decoder layer of the
target's width whose queries, keys and values are made from the last token's embedding and the
hidden state together (2h wide), a head of its own over the likeliest 32,000 tokens, 16-bit weights;
and one matrix 3h → h that mixes hidden states of three of the target's layers, once per verify
step.

`topk` above 1 makes a tree: SGLang's `--speculative-num-steps`, `--speculative-eagle-topk`,
`--speculative-num-draft-tokens` are `draft_tokens`, `topk`, `verify_tokens`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from sim.catalog.attention import GroupedAttention
from sim.catalog.model import DenseFfn, Layer, Model
from sim.errors import ScenarioError
from sim.perf.acceptances import AcceptanceSetting
from sim.perf.drafts import DraftHost, Drafting, DraftTokens, formats_in, matrix
from sim.perf.layouts import Layout
from sim.perf.speculation.acceptance import Tree
from sim.perf.task import Formats
from sim.settings import settings
from sim.units import PositiveInt

HEAD_DIM = 128
"""Of drafts for targets with latent attention (SpecForge `configs/kimi-k2-eagle3.json`)."""
MIXED_STATES = 3
"""Layers of the target whose hidden states are read (arXiv 2503.01840, section 3.1)."""


@settings
class Eagle:
    """A draft layer on the target's hidden states."""

    acceptance: AcceptanceSetting
    """How readily its drafts are accepted."""
    draft_tokens: DraftTokens = 3
    """Drafting passes per verify step."""
    topk: PositiveInt = 1
    """Candidates of every pass; 1 = a chain."""
    verify_tokens: Annotated[int, Field(ge=2)] | None = None
    """Tokens verified, the last accepted one included; draft_tokens + 1 when left out."""
    vocab: PositiveInt | None = 32_000
    """Tokens that its own head can draft (`draft_vocab_size`); None = the target's head."""
    ffn_width: PositiveInt | None = None
    """Intermediate width of the layer. When left out the target's widest dense layer, else what a
    token sees of its experts: 14,336 for Llama-3.1-8B, 6,144 for Qwen3-30B-A3B, as SpecForge."""
    weights: str = "bf16"
    """Number format of its weights."""

    def __post_init__(self) -> None:
        if self.topk > 1 and self.draft_tokens == "auto":
            raise ValueError("draft_tokens: auto chooses chains; write topk 1 or a draft length")
        if self.verify_tokens is None or self.draft_tokens == "auto":
            if self.verify_tokens is not None:
                raise ValueError("verify_tokens has no effect with draft_tokens: auto")
            return
        most = self.draft_tokens if self.topk == 1 else _nodes(self.draft_tokens, self.topk)
        if not self.draft_tokens < self.verify_tokens <= most + 1:
            raise ValueError(
                f"verify_tokens {self.verify_tokens} does not go with {self.draft_tokens} passes "
                f"of {self.topk}; write {self.draft_tokens + 1} to {most + 1}"
            )

    @property
    def layout(self) -> Layout | None:
        """As the target."""
        return None

    @property
    def apart(self) -> bool:
        """No: it reads the target's hidden states."""
        return False

    def drafting(self, target: Model, formats: Formats) -> Drafting:
        """One layer, and the matrix before it."""
        hidden, attention = target.hidden, _attention(target)
        made = (attention.q_heads + 2 * attention.kv_heads) * attention.head_dim
        layer = Layer(attention, DenseFfn(self.ffn_width or _width(target)))
        model = replace(
            target,
            name=f"EAGLE draft of {target.name}",
            layers=(layer, matrix(hidden * made, hidden)),
            vocab=self.vocab or target.vocab,
            tied_embeddings=True,
        )
        mixing = replace(
            model, layers=(matrix(MIXED_STATES * hidden * hidden, hidden),), vocab=_NO_HEAD
        )
        return Drafting(
            model,
            formats_in(self.weights, formats),
            once=mixing,
            sees_verified=True,
            own_head=self.vocab is not None,
        )

    def tree(self, draft_tokens: int) -> Tree:
        """A chain, or a tree of `topk`; a shorter one has fewer tokens to verify."""
        if self.topk == 1 and draft_tokens != self.draft_tokens:
            return Tree.chain(draft_tokens)
        most = _nodes(draft_tokens, self.topk) + 1 if draft_tokens else 1
        tokens = min(self.verify_tokens or draft_tokens + 1, most)
        return Tree(draft_tokens, self.topk if draft_tokens else 1, tokens)

    def host(self) -> DraftHost:
        """None beside the engine's."""
        return DraftHost()

    def assumptions(self) -> list[dict[str, str]]:
        """The sizes that were left out."""
        rows = self.acceptance.assumptions()
        if self.ffn_width is None:
            why = "assumed: the target's dense layers, or what a token sees of its experts"
            rows.append({"what": "EAGLE draft, ffn_width", "value": "", "source": why})
        return rows


_NO_HEAD = 128
"""Vocabulary of a part that has no head: it is never read."""


def _nodes(steps: int, topk: int) -> int:
    """Candidates of all passes: `topk` of the root, then `topk` of every one of `topk` kept."""
    return topk + (steps - 1) * topk * topk


def _attention(target: Model) -> GroupedAttention:
    """The target's grouped attention without a window, else as many heads of 128."""
    grouped = [x.attention for x in target.layers if isinstance(x.attention, GroupedAttention)]
    if grouped:
        a = grouped[0]
        return GroupedAttention(a.q_heads, a.kv_heads, a.head_dim)
    heads = max(layer.attention.q_heads for layer in target.layers)
    if not heads:
        raise ScenarioError(f"eagle: {target.name} has no attention to draft from; write ngram")
    return GroupedAttention(heads, heads, HEAD_DIM)


def _width(target: Model) -> int:
    ffns = [layer.ffn for layer in target.layers]
    dense = [f.width for f in ffns if isinstance(f, DenseFfn)]
    return max(dense) if dense else max(f.width * getattr(f, "top_k", 1) for f in ffns)
