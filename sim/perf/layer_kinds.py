"""Which kinds of layer tables may have, how often a model has each, and whether they are its own.

The names are those of LLMServingSim's profiler (`profiler/models/llama.yaml`, `qwen3.yaml`): vLLM's
modules, of which a decoder layer has two norms and one of everything else.
"""

from __future__ import annotations

from collections.abc import Collection

from sim.catalog.formats import load_format
from sim.catalog.model import DenseFfn, GroupedAttention, Layer
from sim.errors import ScenarioError
from sim.perf.layer_tables import LayerTables
from sim.perf.task import PriceTask

EVERY_LAYER = {
    "layernorm": 2, "qkv_proj": 1, "qk_norm": 1, "rotary_emb": 1, "o_proj": 1, "gate_up_proj": 1,
    "act_fn": 1, "down_proj": 1,
}  # fmt: skip
"""Kind → how often in a layer."""
FIRST, LAST = "embedding", "final_layernorm"
"""Once in a model: before all layers, behind all layers."""
HEADS = ("lm_head", "sampler")
"""Once in a model, by sequences."""
PRODUCTS = frozenset({"qkv_proj", "o_proj", "gate_up_proj", "down_proj", "lm_head"})
"""Kinds that are matrix products."""
CACHED = 2.0
"""Weights of more than this many second-level caches cannot stay there from pass to pass."""
SLACK = 1.1
"""Above the data sheet's bandwidth by so much lies no measurement of weights read from memory."""


def times_a_layer(kind: str, first: bool, last: bool) -> int:
    """How often a layer has a kind, or a stage, the `first` and `last` of which have more."""
    if kind == FIRST:
        return int(first)
    return int(last) if kind == LAST else EVERY_LAYER[kind]


def check_task(task: PriceTask) -> None:
    """ScenarioError when no layer tables can be of this model and layout: they know grouped
    attention and dense feed-forward, all layers alike, divided by tensor parallelism."""
    _check_model(task)
    _check_layout(task)


def check_tables(task: PriceTask, tables: LayerTables, weights: str, kv: str) -> None:
    """ScenarioError when these tables cannot be of this model or these formats."""
    qk_norm = any(getattr(x.attention, "qk_norm", False) for x in task.model.layers)
    needed = {*EVERY_LAYER, FIRST, LAST} - (set() if qk_norm else {"qk_norm"})
    _same_kinds(task, tables, "dense", needed, tables.dense)
    _same_kinds(task, tables, "per_sequence", set(HEADS), tables.heads)
    for name, given, served in (
        ("weights", weights, task.formats.weights),
        ("kv", kv, task.formats.kv),
    ):
        if load_format(given).bits != served.bits:
            raise ScenarioError(
                f"timer.measured.{name}: the tables are of {given}, but precision.{name} is "
                f"{served.name}; serve in {given}, or say with timer.measured.{name} what was "
                "measured"
            )
    _check_size(task, tables, load_format(weights).bits / 8)


def _check_model(task: PriceTask) -> None:
    layer, *others = task.model.layer_counts
    a, plain = layer.attention, Layer(layer.attention, layer.ffn)
    dense = isinstance(layer.ffn, DenseFfn) and layer.ffn.gated
    if not (isinstance(a, GroupedAttention) and dense) or others or layer != plain:
        raise ScenarioError(
            f"timer.measured: layer tables have one kind of layer, with full grouped attention and "
            f"a gated dense feed-forward part, and {task.model.name} is not of this kind; take the "
            "timer calibrated"
        )
    if isinstance(a, GroupedAttention) and a.window_tokens is not None:
        raise ScenarioError(
            f"timer.measured: the attention table knows no window, and {task.model.name} has one "
            f"of {a.window_tokens} tokens; take the timer calibrated"
        )


def _same_kinds(
    task: PriceTask, tables: LayerTables, sort: str, needed: set[str], found: Collection[str]
) -> None:
    missing, unknown = sorted(needed - set(found)), sorted(set(found) - needed)
    if missing or unknown:
        what = f"lacks '{missing[0]}'" if missing else f"has '{unknown[0]}'"
        raise ScenarioError(
            f"timer.measured.tables: {sort}_tp{tables.tp} of '{tables.folder}' {what}, and "
            f"{task.model.name} is made of {', '.join(sorted(needed))}; give the tables of this "
            "model"
        )


def _check_layout(task: PriceTask) -> None:
    """Tensor parallelism and pipeline stages, one batch at a time."""
    s = task.spread
    plain = s.ranks == s.kv_parallel == s.token_parallel == 1 and not s.ffn_devices
    if not plain or s.sequence_parallel or s.ffn_tp != s.attention_tp:
        raise ScenarioError(
            f"timer.measured: layer tables are of tensor parallelism alone, and the layout is "
            f"{s.text}; write single or tensor without sequence_parallel"
        )
    if task.overlap is not None and task.overlap.streams(task) is not None:
        raise ScenarioError(
            "timer.measured: the tables are of one layer after the other; write overlap: none"
        )


def _check_size(task: PriceTask, tables: LayerTables, weight_bytes: float) -> None:
    """Tables of a smaller model or another GPU would read the weights faster than memory can."""
    for kind, bandwidth in bandwidths(task, tables, weight_bytes).items():
        if bandwidth > SLACK * task.gpu.hbm_bytes_per_s:
            raise ScenarioError(
                f"timer.measured.tables: '{tables.folder}' is of a smaller model than "
                f"{task.model.name} or of another GPU than {task.gpu.name}, which would read the "
                f"weights of {kind} at {bandwidth / 1e12:.2f} TB/s; give its own tables"
            )


def bandwidths(task: PriceTask, tables: LayerTables, weight_bytes: float) -> dict[str, float]:
    """Kind → bytes/s at which one token reads its weights, where those are too many to be cached.
    The head is always in 16 bit."""
    model, tp = task.model, task.spread.attention_tp
    up = 2 * model.hidden * model.layers[0].ffn.width * weight_bytes / tp
    head = model.vocab * model.hidden * 2.0 / tp
    least = CACHED * (task.gpu.l2_bytes or 0.0)
    timed = {"gate_up_proj": (up, tables.dense), "lm_head": (head, tables.heads)}
    return {k: b / float(c[k].seconds.min()) for k, (b, c) in timed.items() if b > least}
