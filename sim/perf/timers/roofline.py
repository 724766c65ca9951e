"""Step times from specifications: the slower of arithmetic and traffic, kernel by kernel.

Peaks from the data sheet times achieved fractions by architecture (`perf/efficiency.py`), the
collectives of the topology, a launch floor per kernel and a host overhead per step.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sim.catalog.formats import Format, compute_peak, load_format
from sim.catalog.model import Attention, Layer, MoeFfn
from sim.perf.attentions import cost_of
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.efficiency import HOST_S, LAUNCH_S, efficiency_of
from sim.perf.operators.experts import experts_seconds
from sim.perf.operators.gemm import Gemm
from sim.perf.step_timer import AttentionPrice, StageTables, TableTimer
from sim.perf.task import PriceTask, compute_format
from sim.settings import settings
from sim.units import Duration

Array = NDArray[np.float64]
Fraction = Annotated[float, Field(gt=0, le=1)]


@settings
class Roofline:
    """The analytical timer. Fractions left out are those of the GPU's architecture."""

    tensor: Fraction | None = None
    """Achieved fraction of the matrix peak."""
    hbm: Fraction | None = None
    """Achieved fraction of memory bandwidth for weights."""
    attention_tensor: Fraction | None = None
    """Achieved fraction of the 16-bit peak in prefill attention."""
    attention_hbm: Fraction | None = None
    """Achieved fraction of memory bandwidth in decode attention."""
    launch_s: Duration = LAUNCH_S
    """Shortest kernel."""
    host_s: Duration = HOST_S
    """Overhead of one step that is not hidden."""

    def compile(self, task: PriceTask) -> TableTimer:
        """Tabulate every stage."""
        stages = task.spread.stage_layers(task.model)
        compiler = _Compiler(self, task)
        tables = tuple(compiler.stage(i, layers) for i, layers in enumerate(stages))
        return TableTimer(caps=task.caps(), tables=tables)

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """The achieved fractions and floors, with their sources."""
        eff = efficiency_of(task.gpu)
        rows = []
        for name in ("tensor", "hbm", "attention_tensor", "attention_hbm"):
            given = getattr(self, name)
            value = getattr(eff, name) if given is None else given
            source = eff.source[name] if given is None else "scenario"
            rows.append({"what": f"{task.gpu.name} {name}", "value": str(value), "source": source})
        floor = "assumed: of the order of launch latencies inside a CUDA graph"
        host = "assumed: CUDA graphs and asynchronous scheduling"
        routing = "assumed: balanced routing, independent uniform choice of experts"
        rows.append({"what": "shortest kernel", "value": f"{self.launch_s} s", "source": floor})
        rows.append({"what": "host time per step", "value": f"{self.host_s} s", "source": host})
        for fmt in {task.formats.weights, task.formats.experts}:
            if compute_format(task.gpu, fmt) is not fmt:
                what, value = f"{fmt.name} weights on {task.gpu.name}", "computed in bf16"
                cost = "assumed: dequantised inside the kernel at no cost of its own"
                rows.append({"what": what, "value": value, "source": cost})
        if any(isinstance(x.ffn, MoeFfn) for x in task.model.layer_counts):
            rows.append({"what": "expert load", "value": "balanced", "source": routing})
        return rows


@dataclass(slots=True)
class _Compiler:
    """Turns one task into stage tables."""

    rates: Roofline
    task: PriceTask

    def stage(self, index: int, layers: tuple[Layer, ...]) -> StageTables:
        """The price list of one stage."""
        task, spread = self.task, self.task.spread
        upto = task.max_rank_tokens
        counts = Counter(layers)
        few = np.arange(upto + 1, dtype=np.float64)
        many = np.arange(spread.ranks * upto + 1, dtype=np.float64)
        linear, collective, experts = np.zeros_like(few), np.zeros_like(few), np.zeros_like(many)
        for layer, count in counts.items():
            linear = linear + count * self._linear(layer, few)
            collective = collective + count * self._collective(index, layer, few)
            experts = experts + count * self._experts(layer, many)
        last = index == spread.stages - 1
        if not last:
            collective = collective + self._pass_on(index, few)
        head = self._head(np.arange(task.max_sampled + 1, dtype=np.float64))
        return StageTables(
            linear=linear,
            head=head if last else np.zeros_like(head),
            experts=experts,
            collective=collective,
            host_s=self.rates.host_s if index == 0 else 0.0,
            attention=self._attention(counts),
        )

    def _gemm(self, fmt: Format) -> Gemm:
        rates, eff, gpu = self.rates, efficiency_of(self.task.gpu), self.task.gpu
        run_in = compute_format(gpu, fmt)
        peak = compute_peak(gpu, run_in)
        tensor = eff.tensor.get(run_in.compute, 0.5) if rates.tensor is None else rates.tensor
        hbm = eff.hbm if rates.hbm is None else rates.hbm
        return Gemm(
            flops_per_s=peak * tensor,
            bytes_per_s=gpu.hbm_bytes_per_s * hbm,
            weight_bytes=fmt.bits / 8,
            activation_bytes=ACTIVATION_BYTES,
            launch_s=rates.launch_s,
        )

    def _linear(self, layer: Layer, tokens: Array) -> Array:
        """Projections of attention, the dense or shared feed-forward part, router and norms."""
        task, spread = self.task, self.task.spread
        hidden, ffn = task.model.hidden, layer.ffn
        gemm = self._gemm(task.formats.weights)
        total = gemm.elementwise_seconds(tokens, 8 * hidden, kernels=2)
        matrices = cost_of(layer.attention).matrices(layer.attention, hidden, spread.attention_tp)
        for inputs, outputs in matrices.values():
            total = total + gemm.seconds(tokens, inputs, outputs)
        width = ffn.shared_width if isinstance(ffn, MoeFfn) else ffn.width
        if width:
            local = width // spread.ffn_tp
            total = total + gemm.seconds(tokens, hidden, (1 + ffn.gated) * local)
            total = total + gemm.seconds(tokens, local, hidden)
            total = total + gemm.elementwise_seconds(tokens, (2 + ffn.gated) * local, kernels=1)
        if isinstance(ffn, MoeFfn):
            total = total + gemm.seconds(tokens, hidden, ffn.experts)
        return total

    def _experts(self, layer: Layer, tokens: Array) -> Array:
        ffn, spread = layer.ffn, self.task.spread
        if not isinstance(ffn, MoeFfn):
            return np.zeros_like(tokens)
        gemm = self._gemm(self.task.formats.experts)
        return experts_seconds(
            gemm,
            ffn,
            self.task.model.hidden,
            tokens,
            parallel=spread.expert_parallel,
            tp=spread.expert_tp,
        )

    def _collective(self, stage: int, layer: Layer, tokens: Array) -> Array:
        """An all-reduce after attention and after the feed-forward layer; with lockstep ranks, an
        all-to-all to the experts and back (each token to each device at most once)."""
        task, spread = self.task, self.task.spread
        payload = tokens * (task.model.hidden * ACTIVATION_BYTES)
        if spread.ranks == 1:
            reduce = task.wires.rank[stage].all_reduce_s(payload)
            return np.where(tokens > 0, 2 * reduce, 0.0)
        total = task.wires.rank[stage].all_reduce_s(payload)
        if isinstance(layer.ffn, MoeFfn):
            n = spread.expert_parallel
            reached = (n - 1) * (1.0 - (1.0 - 1.0 / n) ** layer.ffn.top_k)
            sent = payload * (reached / spread.attention_tp)
            total = total + 2 * task.wires.stage[stage].all_to_all_s(sent)
        else:
            total = total + task.wires.rank[stage].all_reduce_s(payload)
        return np.where(tokens > 0, total, 0.0)

    def _pass_on(self, stage: int, tokens: Array) -> Array:
        """Activations to the next stage, each device its share."""
        task = self.task
        payload = tokens * (task.model.hidden * ACTIVATION_BYTES / task.spread.attention_tp)
        return np.where(tokens > 0, task.wires.between[stage].send_s(payload), 0.0)

    def _head(self, sampled: Array) -> Array:
        task = self.task
        gemm = self._gemm(load_format("bf16"))
        outputs = -(-task.model.vocab // task.spread.attention_tp)
        return gemm.seconds(sampled, task.model.hidden, outputs)

    def _attention(self, counts: Counter[Layer]) -> tuple[AttentionPrice, ...]:
        """Layers of the same kind of attention priced together."""
        kinds: Counter[Attention] = Counter()
        for layer, count in counts.items():
            kinds[layer.attention] += count
        return tuple(self._attention_price(a, n) for a, n in kinds.items())

    def _attention_price(self, attention: Attention, layers: int) -> AttentionPrice:
        task, rates = self.task, self.rates
        eff = efficiency_of(task.gpu)
        kv_bytes = task.formats.kv.bits / 8
        work = cost_of(attention).work(attention, task.spread.attention_tp, kv_bytes)
        peak = compute_peak(task.gpu, load_format("bf16"))
        prefill = peak * (rates.attention_tensor or eff.attention_tensor)
        decode = peak * (rates.tensor or eff.tensor["bf16"])
        read = task.gpu.hbm_bytes_per_s * (rates.attention_hbm or eff.attention_hbm)
        context = max(work.flops_per_context / decode, work.bytes_per_context / read)
        cap = work.cap_tokens
        return AttentionPrice(
            cap=-1 if cap is None else task.caps().index(cap),
            context_s=layers * context,
            sequence_s=layers * (work.bytes_per_sequence / read),
            decode_launch_s=layers * rates.launch_s,
            pair_s=layers * (work.flops_per_pair / prefill),
            cached_key_s=layers * (work.flops_per_cached_key / decode),
            key_s=layers * (work.bytes_per_key / read),
            prefill_launch_s=layers * rates.launch_s,
        )
