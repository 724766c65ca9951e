"""Step times put together from somebody's measured layer tables (`sim.perf.layer_tables`).

Every kind of layer is priced by its own curve over tokens, as often as the model has it; attention
by what `sim.perf.attention_grid` makes of the measured grid; sums over tensor-parallel devices, of
which the tables know nothing, by the topology. The host adds what an engine's profile says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.catalog.model import Layer
from sim.network.collectives import Collectives
from sim.perf.attention_grid import decode_tables, mixed_attention, prefill_tables
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.engine_profile import load_engine_profile
from sim.perf.layer_kinds import EVERY_LAYER, PRODUCTS, check_tables, check_task, times_a_layer
from sim.perf.layer_reach import reach_rows
from sim.perf.layer_tables import LayerTables, read_layer_tables
from sim.perf.layer_work import layer_work
from sim.perf.price_list import AttentionPrice, HostTables, StageTables
from sim.perf.step_timer import TableTimer
from sim.perf.task import PriceTask
from sim.settings import settings
from sim.units import Duration

Array = NDArray[np.float64]


@settings
class Measured:
    """The timer of layer tables."""

    tables: str
    """Folder of `dense_tpN.csv`, `per_sequence_tpN.csv` and `attention_tpN.csv`."""
    weights: str = "bf16"
    """Format of the weights that were measured, which the tables do not say."""
    kv: str = "bf16"
    """Format of the KV cache that was measured."""
    engine_profile: str = "vllm-0.24"
    """Whose host: a file of `perf/engine_profiles/`."""
    step_s: Duration | None = None
    """Host time per step that no GPU work hides; the profile's when left out."""
    sequence_s: Duration | None = None
    """The same per sequence in the step; the profile's when left out."""

    def __post_init__(self) -> None:
        load_engine_profile(self.engine_profile)

    def compile(self, task: PriceTask) -> TableTimer:
        """Tabulate every stage; ScenarioError when the tables are not of this model and layout."""
        tables = self._tables(task)
        stages = task.spread.stage_layers(task.model)
        made = tuple(self._stage(task, tables, i, layers) for i, layers in enumerate(stages))
        return TableTimer(caps=task.caps(), tables=made, host=self._host(task))

    def all_reduce(self) -> str:
        """As the engine's profile says."""
        return load_engine_profile(self.engine_profile).all_reduce

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """The tables, what they do not say, and where prices go beyond them."""
        tables, profile = self._tables(task), load_engine_profile(self.engine_profile)
        step_s, sequence_s = self._exposed()
        host = {"step_s": (step_s, self.step_s), "sequence_s": (sequence_s, self.sequence_s)}
        rows = [
            {
                "what": f"host {name}",
                "value": f"{value} s",
                "source": f"{profile.name}: {profile.sources[name]}" if own is None else "scenario",
            }
            for name, (value, own) in host.items()
        ]
        source = f"{profile.name}: {profile.sources['loop_s']}"
        rows.append({"what": "host loop_s", "value": f"{profile.loop_s} s", "source": source})
        return rows + reach_rows(task, tables)

    def _tables(self, task: PriceTask) -> LayerTables:
        check_task(task)
        tables = read_layer_tables(self.tables, task.spread.attention_tp)
        check_tables(task, tables, self.weights, self.kv)
        return tables

    def _exposed(self) -> tuple[float, float]:
        """(seconds a step, seconds a sequence)"""
        profile = load_engine_profile(self.engine_profile)
        step_s = profile.step_s if self.step_s is None else self.step_s
        return step_s, profile.sequence_s if self.sequence_s is None else self.sequence_s

    def _host(self, task: PriceTask) -> HostTables:
        step_s, sequence_s = self._exposed()
        sequences = np.arange(task.max_sampled + 1, dtype=np.float64)
        loop_s = load_engine_profile(self.engine_profile).loop_s
        return HostTables(step_s + sequence_s * sequences, np.full(len(sequences), loop_s))

    def _stage(
        self, task: PriceTask, tables: LayerTables, index: int, layers: tuple[Layer, ...]
    ) -> StageTables:
        tokens, sequences, last = task.max_rank_tokens, task.max_sampled, task.spread.stages - 1
        linear: Array = np.zeros(tokens + 1)
        for kind, curve in tables.dense.items():
            often = times_a_layer(kind, first=index == 0, last=index == last)
            often *= len(layers) if kind in EVERY_LAYER else 1
            linear = linear + often * curve.upto(tokens, kind in PRODUCTS)
        head: Array = np.zeros(sequences + 1)
        if index == last:
            for kind, curve in tables.heads.items():
                head = head + curve.upto(sequences, kind in PRODUCTS)
        return StageTables(
            linear=linear,
            head=head,
            experts=np.zeros(tokens + 1),
            collective=_sums(task, index, layers),
            attention=(_attention(tables, len(layers), sequences, tokens),),
        )


def _attention(tables: LayerTables, layers: int, sequences: int, tokens: int) -> AttentionPrice:
    """Attention of so many layers."""
    rows = tables.attention
    decode, prefill = decode_tables(rows, sequences), prefill_tables(rows, tokens)
    mixed = mixed_attention(rows, prefill, sequences, tokens)
    return AttentionPrice(
        cap=-1,
        decode=decode.times(layers),
        prefill=prefill.times(layers),
        mixed=None if mixed is None else mixed.times(layers),
    )


def _sums(task: PriceTask, stage: int, layers: tuple[Layer, ...]) -> Array:
    """Collectives of the layers of a stage, and its results to the next one, by tokens."""
    tokens = np.arange(task.max_rank_tokens + 1, dtype=np.float64)
    total: Array = np.zeros_like(tokens)
    for layer in layers:
        for e in layer_work(task, layer).exchanges:
            among: Collectives = getattr(task.wires, e.scope)[stage]
            total = total + getattr(among, f"{e.operation}_s")(tokens * e.bytes_per_token)
    if stage < task.spread.stages - 1:
        payload = tokens * (task.model.hidden * ACTIVATION_BYTES / task.spread.rank_width)
        total = total + task.wires.between[stage].send_s(payload)
    return np.where(tokens > 0, total, 0.0)
