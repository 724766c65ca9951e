"""What a trainer's fullest device holds: weights, gradients, optimiser states, activations.

Model states: ZeRO, arXiv 1910.02054, section 3.1 and figure 1 (16-bit weights and gradients 2 + 2,
Adam in 32 bit 12 bytes per parameter). Activations: arXiv 2205.05198, section 4, counted kernel by
kernel so that gated, grouped and mixture-of-experts layers follow from the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.catalog.gpu import Gpu
from sim.catalog.model import GroupedAttention, LatentAttention, Layer, Model, MoeFfn, NoFfn
from sim.errors import ScenarioError
from sim.perf.training.batch import MicroBatch
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.recipe import Recipe
from sim.perf.training.schedules import in_flight
from sim.perf.training.sizes import Params, Stage, score_width, stages_of
from sim.units import human_bytes

WEIGHT_BYTES = 2.0
ADAM_BYTES = 12.0
"""Per parameter: weights, first and second moment in 32 bit."""
LOGIT_BYTES = 4.0
"""Per logit kept for the loss's gradient, 32 bit (arXiv 2205.05198, section 4.3)."""


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes on the fullest device of a trainer."""

    stage: int
    """The stage that it belongs to."""
    weight_bytes: float
    gradient_bytes: float
    optimizer_bytes: float
    activation_bytes: float
    reserve_bytes: float
    gpu_bytes: float

    @property
    def total_bytes(self) -> float:
        """All together."""
        states = self.weight_bytes + self.gradient_bytes + self.optimizer_bytes
        return states + self.activation_bytes + self.reserve_bytes

    @property
    def fits(self) -> bool:
        """Whether the GPU holds it."""
        return self.total_bytes <= self.gpu_bytes

    def check(self, layout: TrainingLayout, model: Model, gpu: Gpu) -> None:
        """Refuse a trainer that does not fit, with the arithmetic."""
        if self.fits:
            return
        parts = {
            "weights": self.weight_bytes,
            "gradients": self.gradient_bytes,
            "optimiser": self.optimizer_bytes,
            "activations": self.activation_bytes,
            "reserve": self.reserve_bytes,
        }
        sums = " + ".join(f"{human_bytes(v)} {k}" for k, v in parts.items() if v)
        raise ScenarioError(
            f"rl.trainer: {model.name} as {layout.text} does not fit on {gpu.name} "
            f"({human_bytes(self.gpu_bytes)}): stage {self.stage} needs {sums} = "
            f"{human_bytes(self.total_bytes)}; use recipe.recompute: full, more tp or pp, a higher "
            "recipe.zero, a lower micro_batch_tokens, or recipe.offload"
        )


def zero_bytes(params: float, stage: int, dp: int, gradient_bytes: float = 2.0) -> float:
    """Bytes of model states per GPU: 16·N, 4·N + 12·N/d, 2·N + 14·N/d, 16·N/d for stages 0 to 3
    (arXiv 1910.02054, figure 1)."""
    shares = [dp if stage >= 4 - kind else 1 for kind in (1, 2, 3)]
    each = (WEIGHT_BYTES / shares[0], gradient_bytes / shares[1], ADAM_BYTES / shares[2])
    return params * sum(each)


def training_memory(
    model: Model,
    layout: TrainingLayout,
    recipe: Recipe,
    gpu: Gpu,
    micro: MicroBatch,
    count: int,
    stages: tuple[Stage, ...] | None = None,
) -> TrainingMemory:
    """Of the fullest stage, with `count` micro-batches as large as `micro`."""
    known = stages or stages_of(layout, model, recipe)
    kept = {
        x: layer_activations(x, model.hidden, layout, recipe, micro) for x in model.layer_counts
    }
    each = []
    for i, stage in enumerate(known):
        states = _states(stage, layout, recipe)
        acts = stage_activations(model, layout, recipe, micro, count, i, stage, kept)
        each.append(TrainingMemory(i, *states, acts, recipe.reserve_bytes, gpu.hbm_bytes))
    return max(each, key=lambda s: s.total_bytes)


def _states(stage: Stage, layout: TrainingLayout, recipe: Recipe) -> tuple[float, float, float]:
    """Bytes of (weights, gradients, optimiser states) on one device. Weights that are streamed in
    need room for the layer at work and the next."""
    zero, away = recipe.zero, recipe.offload
    weights = WEIGHT_BYTES * _sharded(stage.held, layout, zero >= 3)
    if away is not None and away.weights:
        weights *= min(1.0, 2.0 / max(1, sum(stage.layers.values())))
    states = 0.0 if away is not None else ADAM_BYTES * _sharded(stage.trained, layout, zero >= 1)
    return weights, recipe.gradient_bytes * _sharded(stage.trained, layout, zero >= 2), states


def _sharded(params: Params, layout: TrainingLayout, over: bool) -> float:
    if not over:
        return params.total
    return params.dense / (layout.dp * layout.cp) + params.experts / layout.expert_dp


def stage_activations(
    model: Model,
    layout: TrainingLayout,
    recipe: Recipe,
    micro: MicroBatch,
    count: int,
    at: int,
    stage: Stage,
    kept: dict[Layer, float],
) -> float:
    """Bytes of activations on one device of stage `at`: those of every layer (`kept`) for every
    micro-batch in flight; with recomputation of layers, their inputs, and one layer whole; logits
    on the last stage, the embedding's dropout mask on the first (arXiv 2205.05198, sections 4.1 to
    4.3). Swapped activations need room for the layer at work and the next (arXiv 2407.12117: two
    rounding buffers). Vocabulary over stages keeps one micro-batch more, interlaced half as many
    again (arXiv 2411.05288, algorithm 2; the authors' README)."""
    tokens, layers = micro.tokens / layout.cp, stage.layers
    spread = layout.spreads_vocabulary
    logits = tokens * model.vocab / layout.tp * LOGIT_BYTES / (layout.pp if spread else 1)
    if not spread and at < layout.pp - 1:
        logits = 0.0
    largest = max((kept[x] for x in layers), default=0.0)
    if not recipe.trains:
        return largest + logits
    flying = in_flight(layout.schedule, layout.pp, count, layout.chunks, at)
    flying += {"ends": 0.0, "stages": 1.0, "interlaced": layout.pp / 2}[layout.vocabulary]
    mask = tokens * model.hidden / layout.share if recipe.dropout and at == 0 else 0.0
    if recipe.swap is not None:
        return 2.0 * largest + mask + logits
    if recipe.recompute == "full":
        inputs = sum(layers.values()) * tokens * model.hidden * 2.0 / layout.share
        return flying * (inputs + mask) + largest + logits
    return flying * (sum(n * kept[x] for x, n in layers.items()) + mask) + logits


def layer_activations(
    layer: Layer, hidden: int, layout: TrainingLayout, recipe: Recipe, micro: MicroBatch
) -> float:
    """Bytes that one layer keeps of one micro-batch for its backward pass, on one device.

    A GPT's: s·b·h·(10 + 24/t + 5·a·s/(h·t)) under tensor parallelism, s·b·h·(34 + 5·a·s/h)/t with
    sequence parallelism, and without the score term where the attention core is recomputed (arXiv
    2205.05198, equations 2, 4 and 6). Without dropout their masks (1 byte) are not kept.
    """
    tokens, drop = micro.tokens / layout.cp, float(recipe.dropout)
    a, ffn = layer.attention, layer.ffn
    bytes_per_token = 0.0
    if isinstance(a, GroupedAttention | LatentAttention):
        bytes_per_token += hidden * (4.0 + drop) / layout.share + _core(layer, layout)
    elif a.q_heads:
        bytes_per_token += hidden * 4.0 / layout.share + 8.0 * hidden / layout.tp
    if not isinstance(ffn, NoFfn):
        bytes_per_token += hidden * (4.0 + drop) / layout.share + _ffn(layer, hidden, layout)
    return tokens * bytes_per_token + _scores(layer, layout, recipe, micro)


def _core(layer: Layer, layout: TrainingLayout) -> float:
    """Queries, keys, values and the output projection's input, 2 bytes each."""
    key, value = score_width(layer)
    a = layer.attention
    heads = a.q_heads / layout.tp
    keys = max(1.0, a.kv_heads / layout.tp) if isinstance(a, GroupedAttention) else heads
    return 2.0 * (heads * key + keys * (key + value) + heads * value)


def _scores(layer: Layer, layout: TrainingLayout, recipe: Recipe, micro: MicroBatch) -> float:
    """Softmax's output, the dropout's mask and output: 2 + 1 + 2 bytes per score (2 without
    dropout); none where they stay in a fused kernel or are recomputed."""
    scored = isinstance(layer.attention, GroupedAttention | LatentAttention)
    if not scored or recipe.attention == "flash" or recipe.recompute == "selective":
        return 0.0
    each = 5.0 if recipe.dropout else 2.0
    return each * layer.attention.q_heads / layout.tp * micro.squares / layout.cp


def _ffn(layer: Layer, hidden: int, layout: TrainingLayout) -> float:
    """Inputs and outputs of the activation, 2 bytes a number: 2 (3 gated) per intermediate one; of
    routed experts also the dispatched input and the output, for every choice."""
    ffn = layer.ffn
    kept = 2.0 * (2 + ffn.gated)
    if not isinstance(ffn, MoeFfn):
        return kept * ffn.width / layout.tp
    own = kept * ffn.shared_width / layout.tp
    choices = ffn.top_k * (layout.expert_tp if layout.dispatches else 1) / layout.share
    each = 4.0 * (ffn.latent or hidden) + kept * ffn.width / layout.expert_tp
    return own + choices * each
