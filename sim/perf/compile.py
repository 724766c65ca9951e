"""The work of a model under a layout, priced by kernels and put into tables, stage by stage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.catalog.formats import load_format
from sim.catalog.model import Layer
from sim.network.collectives import Collectives
from sim.perf.attentions import AttentionWork
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.kernels import Kernels
from sim.perf.layer_work import Exchange, attention_works, layer_work
from sim.perf.price_list import AttentionPrice, StageTables
from sim.perf.task import PriceTask

Array = NDArray[np.float64]

EXACT_TO = 8192
"""Tables are computed at every whole number up to here, beyond at 128 points per doubling, with
straight lines between."""


def grid(upto: int) -> Array:
    """The token counts at which a table of `upto` + 1 entries is computed."""
    if upto <= EXACT_TO:
        return np.arange(upto + 1, dtype=np.float64)
    doublings = np.log2(upto / EXACT_TO)
    beyond = np.rint(EXACT_TO * 2.0 ** np.linspace(0, doublings, int(128 * doublings) + 2))
    return np.unique(np.concatenate([np.arange(EXACT_TO + 1.0), beyond]))


def table(points: Array, values: Array, upto: int) -> Array:
    """`values` at `points` as a table over 0 … `upto`."""
    if len(points) == upto + 1:
        return values
    return np.interp(np.arange(upto + 1, dtype=np.float64), points, values)


@dataclass(slots=True)
class Compiler:
    """Turns one task into stage tables."""

    task: PriceTask
    kernels: Kernels
    sampler_numbers: float = 0.0
    """Numbers per vocabulary entry that sampling moves beside the head's product."""
    layer_s: float = 0.0
    """Gaps between the kernels of a layer."""

    def stages(self) -> tuple[StageTables, ...]:
        """The price lists of all stages."""
        stages = self.task.spread.stage_layers(self.task.model)
        return tuple(self.stage(i, layers) for i, layers in enumerate(stages))

    def stage(self, index: int, layers: tuple[Layer, ...]) -> StageTables:
        """The price list of one stage."""
        task, spread = self.task, self.task.spread
        upto = task.max_rank_tokens
        few, many = grid(upto), grid(spread.ranks * upto)
        linear, collective, exchange = np.zeros_like(few), np.zeros_like(few), np.zeros_like(few)
        experts = np.zeros_like(many)
        counts = Counter(layers)
        local = np.ceil(few / spread.token_parallel)
        for layer, count in counts.items():
            work = layer_work(task, layer)
            block = self._block(layer, local)
            if block is not None:
                linear = linear + count * block
            for p in (*(work.projections if block is None else ()), *work.products):
                linear = linear + count * self.kernels.product_s(
                    local, p.inputs, p.outputs, p.format
                )
            linear = linear + count * np.where(few > 0, self.layer_s, 0.0)
            for v in work.passes:
                linear = linear + count * self.kernels.pass_s(local, v.numbers)
            if work.routed is not None:
                experts = experts + count * self.kernels.routed_s(many, work.routed)
            for e in work.exchanges:
                seconds = count * self._exchange(index, e, few)
                if e.scope == "kv":
                    exchange = exchange + seconds
                else:
                    collective = collective + seconds
        last = index == spread.stages - 1
        if not last:
            collective = collective + self._pass_on(index, few)
        head = np.zeros(task.max_sampled + 1)
        return StageTables(
            linear=table(few, linear, upto),
            head=self._head() if last else head,
            experts=table(many, experts, spread.ranks * upto),
            collective=table(few, collective, upto),
            attention=self._attention(counts),
            exchange=table(few, exchange, upto) if exchange.any() else None,
            streams=task.overlap.streams(task) if task.overlap else None,
        )

    def _block(self, layer: Layer, tokens: Array) -> Array | None:
        """The projections around attention in one piece, as a prompt runs them."""
        blocks = (
            self.kernels.block_s(w, tokens, decode=False) for w in attention_works(self.task, layer)
        )
        return next((b for b in blocks if b is not None), None)

    def _exchange(self, stage: int, e: Exchange, tokens: Array) -> Array:
        wires = self.task.wires
        among: Collectives = getattr(wires, e.scope)[stage]
        payload = tokens * e.bytes_per_token
        seconds = getattr(among, f"{e.operation}_s")(payload)
        return np.where(tokens > 0, seconds, 0.0)

    def _pass_on(self, stage: int, tokens: Array) -> Array:
        """Activations to the next stage, each device its share."""
        task = self.task
        payload = tokens * (task.model.hidden * ACTIVATION_BYTES / task.spread.rank_width)
        return np.where(tokens > 0, task.wires.between[stage].send_s(payload), 0.0)

    def _head(self) -> Array:
        """The language-model head, 16 bit, cut over the rank's devices, and the sampler."""
        task = self.task
        upto = task.max_sampled
        sampled = grid(upto)
        outputs = -(-task.model.vocab // task.spread.rank_width)
        head = self.kernels.product_s(sampled, task.model.hidden, outputs, load_format("bf16"))
        if self.sampler_numbers:
            head = head + self.kernels.pass_s(sampled, self.sampler_numbers * task.model.vocab)
        return table(sampled, head, upto)

    def _attention(self, counts: Counter[Layer]) -> tuple[AttentionPrice, ...]:
        """Layers of the same kind of attention priced together."""
        kinds: Counter[AttentionWork] = Counter()
        for layer, count in counts.items():
            for work in attention_works(self.task, layer):
                kinds[work] += count
        return tuple(self._attention_price(work, n) for work, n in kinds.items())

    def _attention_price(self, work: AttentionWork, layers: int) -> AttentionPrice:
        """Devices that share a sequence's KV each read and score their part of it."""
        task = self.task
        share = 1.0 / task.spread.kv_parallel
        n, p = task.max_sampled, task.max_rank_tokens
        batch, tokens = grid(n), grid(p)
        decode = self.kernels.decode(work, batch).times(layers, share)
        asked, answered = (self.kernels.block_s(work, batch, decode=d) for d in (False, True))
        if asked is not None and answered is not None:
            decode = decode.plus(layers * np.maximum(answered - asked, 0.0))
        prefill = self.kernels.prefill(work, tokens).times(layers, share)
        return AttentionPrice(
            cap=-1 if work.cap_tokens is None else task.caps().index(work.cap_tokens),
            decode=decode.mapped(lambda values: table(batch, values, n)),
            prefill=prefill.mapped(lambda values: table(tokens, values, p)),
            window=work.cap_tokens or 0,
        )
