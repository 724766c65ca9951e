"""Parameters that one device of a trainer holds, and operations of a step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sim.catalog.counting import (
    attention_matrices,
    attention_params,
    expert_params,
    ffn_params,
    latent_params,
    mlp_matrices,
    norm_params,
    router_params,
    shared_params,
)
from sim.catalog.model import GroupedAttention, LatentAttention, Layer, Model, MoeFfn
from sim.errors import BrokenInvariant
from sim.perf.attentions import cost_of
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Params:
    """Parameters on one device, by what they are reduced over."""

    dense: float
    """Reduced over dp · cp replicas."""
    experts: float
    """Reduced over the copies of an expert."""

    def plus(self, other: Params, times: int = 1) -> Params:
        """With `other`, so often."""
        return Params(self.dense + times * other.dense, self.experts + times * other.experts)

    @property
    def total(self) -> float:
        """All on the device."""
        return self.dense + self.experts


def layer_params_on(layout: TrainingLayout, layer: Layer, hidden: int) -> Params:
    """Parameters of a layer on one device: matrices over tp (experts over ep · etp), norms,
    router and the experts' latent whole."""
    dense = attention_params(layer.attention, hidden) / layout.tp + norm_params(layer, hidden)
    ffn = layer.ffn
    if not isinstance(ffn, MoeFfn):
        return Params(dense + ffn_params(ffn, hidden) / layout.tp, 0.0)
    dense += shared_params(ffn, hidden) / layout.tp
    dense += router_params(ffn, hidden) + latent_params(ffn, hidden)
    routed = ffn.experts * expert_params(ffn, hidden)
    return Params(dense, routed / (layout.ep * layout.expert_tp))


def stage_params(layout: TrainingLayout, model: Model, stage: int) -> Params:
    """Parameters on one device of a stage: layers, and its part of embedding and head. A tied table
    is kept on both ends of the pipeline (arXiv 2104.04473's code)."""
    total = Params(tables_on(layout, model, stage) * _table(layout, model), 0.0)
    layers = Counter(x for chunk in layout.layers_of(model)[stage] for x in chunk)
    for layer, n in layers.items():
        if not layer.shared_weights:
            total = total.plus(layer_params_on(layout, layer, model.hidden), n)
    return total


@dataclass(frozen=True, slots=True)
class Stage:
    """What one device of a pipeline stage holds."""

    chunks: tuple[dict[Layer, int], ...]
    """By model chunk: distinct layers and how often each occurs."""
    held: Params
    trained: Params
    """With gradients and optimiser states."""
    tables: float
    """Embedding and head, in whole tables before tensor parallelism."""

    @property
    def layers(self) -> dict[Layer, int]:
        """Of all chunks together."""
        return dict(sum((Counter(c) for c in self.chunks), Counter()))


def stages_of(layout: TrainingLayout, model: Model, recipe: Recipe) -> tuple[Stage, ...]:
    """All stages."""
    return tuple(
        Stage(
            chunks=tuple(dict(Counter(chunk)) for chunk in chunks),
            held=stage_params(layout, model, i),
            trained=trained_on(layout, model, recipe, i),
            tables=tables_on(layout, model, i),
        )
        for i, chunks in enumerate(layout.layers_of(model))
    )


def tables_on(layout: TrainingLayout, model: Model, stage: int) -> float:
    """Embedding and head on a stage, in whole tables."""
    each = 1 if model.tied_embeddings and layout.pp == 1 else 2
    if layout.spreads_vocabulary:
        return (1 if model.tied_embeddings else 2) / layout.pp
    if layout.pp == 1:
        return each
    return float((stage == 0) + (stage == layout.pp - 1))


def _table(layout: TrainingLayout, model: Model) -> float:
    return model.vocab * model.hidden / layout.tp


def lora_params(model: Model, rank: int) -> int:
    """Parameters of adapters of `rank` on every matrix outside routed experts: rank · (in + out)
    each (arXiv 2106.09685, section 4.1)."""
    return sum(n * lora_of(x, model.hidden, rank) for x, n in model.layer_counts.items())


def lora_tensors(model: Model) -> int:
    """Matrices of those adapters, two each."""
    return sum(2 * n * len(_adapted(x, model.hidden)) for x, n in model.layer_counts.items())


def lora_of(layer: Layer, hidden: int, rank: int) -> int:
    return sum(rank * (i + o) for i, o in _adapted(layer, hidden))


def _adapted(layer: Layer, hidden: int) -> list[tuple[int, int]]:
    """(in, out) of the matrices that have adapters."""
    shapes = list(attention_matrices(layer.attention, hidden).values())
    ffn = layer.ffn
    width = ffn.shared_width if isinstance(ffn, MoeFfn) else ffn.width
    if width:
        shapes += mlp_matrices(hidden, width, ffn.gated).values()
    return shapes


def trained_on(layout: TrainingLayout, model: Model, recipe: Recipe, stage: int) -> Params:
    """Parameters on one device of a stage that get gradients and optimiser states."""
    if recipe.method == "full":
        return stage_params(layout, model, stage)
    if recipe.method == "zeroth_order":
        return Params(0.0, 0.0)
    layers = [x for chunk in layout.layers_of(model)[stage] for x in chunk]
    adapters = sum(lora_of(x, model.hidden, recipe.lora_rank) for x in layers)
    return Params(adapters / layout.tp, 0.0)


# --- operations --------------------------------------------------------------------------------


def layer_flops(layer: Layer, hidden: int, tokens: float, squares: float) -> float:
    """Forward operations of a layer: 2 per parameter of every matrix that a token meets, and of
    attention 2 · heads · (width of keys + width of values) per query-key pair.

    As the papers count, `squares` = Σ length² pairs: causal masks are not taken off. For a GPT that
    is 24·B·s·h² + 4·B·s²·h (arXiv 2104.04473, appendix).
    """
    a, ffn = layer.attention, layer.ffn
    weights = sum(i * o for i, o in attention_matrices(a, hidden).values())
    if isinstance(ffn, MoeFfn):
        weights += ffn.top_k * _matrix_params(ffn.latent or hidden, ffn.width, ffn.gated)
        weights += _matrix_params(hidden, ffn.shared_width, ffn.gated)
        weights += hidden * ffn.experts + latent_params(ffn, hidden)
    else:
        weights += _matrix_params(hidden, ffn.width, ffn.gated)
    return 2.0 * tokens * weights + attention_flops(layer, tokens, squares)


def attention_flops(layer: Layer, tokens: float, squares: float) -> float:
    """Operations of the attention core alone."""
    a = layer.attention
    work = cost_of(a).work(a, 1, 2.0)
    window = a.window_tokens
    pairs = squares if window is None else min(squares, 2.0 * tokens * window)
    return sum(pairs * w.flops_per_pair + tokens * w.flops_per_token for w in work)


def _matrix_params(hidden: int, width: int, gated: bool) -> int:
    return sum(i * o for i, o in mlp_matrices(hidden, width, gated).values())


@dataclass(frozen=True, slots=True)
class StepFlops:
    """Operations of a step, over all GPUs."""

    model: float
    """What the mathematics asks for: forward and backward, nothing twice."""
    hardware: float
    """With what is recomputed."""


def step_flops(
    model: Model,
    recipe: Recipe,
    tokens: float,
    squares: float,
    kinds: dict[Layer, int] | None = None,
) -> StepFlops:
    """Forward F and backward 2·F (input and weight gradients: F each; adapters: only F and theirs),
    and recomputation: whole layers, or attention cores. The head is never recomputed.

    For a GPT with full recomputation this is equation 3 of arXiv 2104.04473.
    """
    each = (kinds or model.layer_counts).items()
    layers = sum(n * layer_flops(x, model.hidden, tokens, squares) for x, n in each)
    cores = sum(n * attention_flops(x, tokens, squares) for x, n in each)
    head = 2.0 * tokens * model.hidden * model.vocab
    if recipe.method == "zeroth_order":
        both = 2 * (layers + head)
        return StepFlops(both, both)
    if recipe.method == "lora":
        adapters = 6.0 * tokens * lora_params(model, recipe.lora_rank)
        asked = 2.0 * (layers + head) + cores + adapters
    else:
        asked = 3.0 * (layers + head)
    again = {"none": 0.0, "selective": cores, "full": layers}[recipe.recompute]
    if recipe.recompute == "selective" and recipe.attention == "flash":
        again = 0.0
    return StepFlops(asked, asked + again)


def score_width(layer: Layer) -> tuple[float, float]:
    """(numbers per head of a query or key, of a value)."""
    a = layer.attention
    if isinstance(a, GroupedAttention):
        return a.head_dim, a.head_dim
    if isinstance(a, LatentAttention):
        return a.nope_dim + a.rope_dim, a.v_dim
    raise BrokenInvariant(f"{type(a).__name__} has no scores")
