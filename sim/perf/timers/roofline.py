"""Step times from specifications: the slower of arithmetic and traffic, kernel by kernel.

Peaks from the data sheet times achieved fractions by architecture (`perf/efficiency.py`), the
collectives of the topology, a launch floor per kernel and a host overhead per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sim.catalog.formats import Format, compute_peak, load_format
from sim.catalog.model import MoeFfn
from sim.network.collectives import Collectives
from sim.perf.attentions import AttentionWork
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.compile import Compiler
from sim.perf.efficiency import HOST_S, LAUNCH_S, efficiency_of
from sim.perf.layer_work import Exchange, Routed
from sim.perf.operators.dispatch import all_to_all_seconds
from sim.perf.operators.experts import experts_seconds
from sim.perf.operators.gemm import Gemm
from sim.perf.price_list import DecodeTables, HostTables, PrefillTables
from sim.perf.step_timer import TableTimer
from sim.perf.task import PriceTask
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
        tables = Compiler(task, _Kernels(self, task)).stages()
        host = HostTables.constant(self.host_s, task.max_sampled)
        return TableTimer(caps=task.caps(), tables=tables, host=host)

    def all_reduce(self) -> None:
        """The topology's first."""

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """The achieved fractions and floors, with their sources."""
        eff = efficiency_of(task.gpu)
        rows = []
        for name in ("tensor", "hbm", "attention_tensor", "attention_hbm"):
            given, value = getattr(self, name), getattr(eff, name)
            if name == "tensor":
                value = ", ".join(f"{fmt} {share}" for fmt, share in eff.tensor.items())
            source = eff.source[name] if given is None else "scenario"
            shown = str(value if given is None else given)
            rows.append({"what": f"{task.gpu.name} {name}", "value": shown, "source": source})
        floor = "assumed: of the order of launch latencies inside a CUDA graph"
        host = "assumed: CUDA graphs and asynchronous scheduling"
        routing = "assumed: balanced routing, independent uniform choice of experts"
        rows.append({"what": "shortest kernel", "value": f"{self.launch_s} s", "source": floor})
        rows.append({"what": "host time per step", "value": f"{self.host_s} s", "source": host})
        for fmt in dict.fromkeys((task.formats.weights, task.formats.experts)):
            runs = task.formats.runs_in(task.gpu, fmt)
            if self.tensor is None and runs.compute not in eff.tensor:
                none = "assumed: no measurement of this format at hand"
                rows.append(
                    {
                        "what": f"{task.gpu.name} tensor, {fmt.name}",
                        "value": str(eff.tensor_of(runs)),
                        "source": none,
                    }
                )
            if runs is not fmt:
                what, value = f"{fmt.name} weights on {task.gpu.name}", f"computed in {runs.name}"
                cost = "assumed: dequantised inside the kernel at no cost of its own"
                rows.append({"what": what, "value": value, "source": cost})
        if any(isinstance(x.ffn, MoeFfn) for x in task.model.layer_counts):
            rows.append({"what": "expert load", "value": "balanced", "source": routing})
        return rows


@dataclass(slots=True)
class _Kernels:
    """Kernels at fixed fractions of the peaks."""

    rates: Roofline
    task: PriceTask

    def product_s(self, tokens: Array, inputs: int, outputs: int, fmt: Format) -> Array:
        """The slower of arithmetic and traffic."""
        return self._gemm(fmt).seconds(tokens, inputs, outputs)

    def pass_s(self, tokens: Array, numbers: float) -> Array:
        """Traffic, at least a launch."""
        return self._gemm(load_format("bf16")).elementwise_seconds(tokens, numbers, kernels=1)

    def routed_s(self, tokens: Array, routed: Routed) -> Array:
        """Balanced, independent choices."""
        return experts_seconds(self._gemm(routed.format), routed, tokens)

    def dispatch_s(self, tokens: Array, exchange: Exchange, among: Collectives) -> Array:
        """A plain all-to-all."""
        return all_to_all_seconds(tokens, exchange, among)

    def decode(self, work: AttentionWork, batch: Array) -> DecodeTables:
        """The slower of arithmetic and traffic per key, traffic per sequence, a launch."""
        if work.phase == "prefill":
            return DecodeTables.line(*(0.0 * batch,) * 3)
        rates, eff, gpu = self.rates, efficiency_of(self.task.gpu), self.task.gpu
        peak = compute_peak(gpu, load_format("bf16")) * (rates.tensor or eff.tensor["bf16"])
        read = gpu.hbm_bytes_per_s * (rates.attention_hbm or eff.attention_hbm)
        key = max(work.flops_per_context / peak, work.bytes_per_context / read)
        base = batch * (work.bytes_per_sequence / read) + rates.launch_s
        some = np.where(batch > 0, 1.0, 0.0)
        return DecodeTables.line(0.0 * batch, some * base, some * key)

    def prefill(self, work: AttentionWork, tokens: Array) -> PrefillTables:
        """The slower of arithmetic and traffic, a launch."""
        if work.phase == "decode":
            return PrefillTables(*(0.0 * tokens,) * 5)
        rates, eff, gpu = self.rates, efficiency_of(self.task.gpu), self.task.gpu
        peak = compute_peak(gpu, load_format("bf16"))
        score = peak * (rates.attention_tensor or eff.attention_tensor)
        rebuild = peak * (rates.tensor or eff.tensor["bf16"])
        read = gpu.hbm_bytes_per_s * (rates.attention_hbm or eff.attention_hbm)
        some = np.where(tokens > 0, 1.0, 0.0)
        return PrefillTables(
            base=some * rates.launch_s + tokens * (work.flops_per_token / rebuild),
            pair=some * (work.flops_per_pair / score),
            cached=some * (work.flops_per_cached_key / rebuild),
            key=some * (work.bytes_per_key / read),
            beyond=0.0 * tokens,
        )

    def mixed(self, work: AttentionWork, sequences: int, tokens: int) -> None:
        """None: one after the other."""

    def block_s(self, work: AttentionWork, tokens: Array, decode: bool) -> None:
        """None: product by product."""

    def _gemm(self, fmt: Format) -> Gemm:
        rates, eff, gpu = self.rates, efficiency_of(self.task.gpu), self.task.gpu
        run_in = self.task.formats.runs_in(gpu, fmt)
        tensor = eff.tensor_of(run_in) if rates.tensor is None else rates.tensor
        return Gemm(
            flops_per_s=compute_peak(gpu, run_in) * tensor,
            bytes_per_s=gpu.hbm_bytes_per_s * (eff.hbm if rates.hbm is None else rates.hbm),
            weight_bytes=fmt.bits / 8,
            activation_bytes=ACTIVATION_BYTES,
            launch_s=rates.launch_s,
        )
