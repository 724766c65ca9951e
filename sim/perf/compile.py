"""The work of a model under a layout, priced by kernels and put into tables, stage by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sim.catalog.formats import load_format
from sim.catalog.model import Layer
from sim.errors import ScenarioError
from sim.network.collectives import Collectives
from sim.perf.attentions import AttentionWork
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.batch_parts import decode_in_parts, in_parts, prefill_in_parts
from sim.perf.ffn_side import FfnSide
from sim.perf.kernels import Kernels
from sim.perf.kv_exchange import MESSAGES, KvExchange, Law
from sim.perf.layer_work import (
    Exchange,
    LayerWork,
    Pass,
    Product,
    attention_works,
    layer_work,
    partial_results,
    query_bytes,
)
from sim.perf.price_list import AttentionPrice, PrefillTables, StageTables
from sim.perf.streams import Beside, Join, PingPong
from sim.perf.task import PriceTask
from sim.plugins import name_of

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


def added(total: Array, count: int, pieces: Sequence[Array]) -> Array:
    """`total` and `count` times every piece, in order."""
    for seconds in pieces:
        total = total + count * seconds
    return total


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
        """The price lists of all stages; ScenarioError when an overlap does not suit the layout."""
        task, spread = self.task, self.task.spread
        stages = spread.stage_layers(task.model)
        parts = task.overlap.parts(task) if task.overlap else 1
        streams = task.overlap.streams(task) if task.overlap else None
        if spread.ffn_devices:
            if streams is not None:
                raise ScenarioError(
                    f"overlap: {name_of(task.overlap)} does not go with the layout {spread.text}, "
                    "whose micro-batches are its overlap; leave it out"
                )
            parts, streams = spread.micro_batches, PingPong(spread.micro_batches, len(stages[0]))
        made = []
        for i, layers in enumerate(stages):
            one = self.stage(i, layers, parts, streams)
            if parts > 1 and not spread.ffn_devices:
                one = replace(one, whole=self.stage(i, layers))
            made.append(one)
        return tuple(made)

    def stage(
        self, index: int, layers: tuple[Layer, ...], parts: int = 1, streams: Join | None = None
    ) -> StageTables:
        """The price list of one stage, its batch cut into `parts`."""
        task, spread = self.task, self.task.spread
        upto = task.max_rank_tokens
        few, many = grid(upto), grid(spread.ranks * upto)
        linear, collective, shared = np.zeros_like(few), np.zeros_like(few), np.zeros_like(few)
        experts = np.zeros_like(many)
        counts = Counter(layers)
        local = np.ceil(few / spread.token_parallel)
        for layer, count in counts.items():
            work = layer_work(task, layer)
            exchanged = self._exchanges(index, work.exchanges, local, parts)
            mine = [*self._projections(layer, work, local, parts)]
            if spread.ffn_devices:
                mine += [*self._gaps(few), *self._passes(work.passes, local, parts), *exchanged]
                experts = added(experts, count, self._ffn_side(layer, work, many, parts))
                moved = partial(FfnSide(task).transfer_s, layer, work.routed)
                exchanged = [in_parts(moved, few, parts)]
            else:
                passes = (*work.passes, *work.ffn_passes)
                mine += [*self._products(work.products, local, parts), *self._gaps(few)]
                mine += self._passes(passes, local, parts)
                shared = added(shared, count, self._products(work.shared, local, parts))
                experts = added(experts, count, self._routed(work, many, parts))
            linear = added(linear, count, mine)
            collective = added(collective, count, exchanged)
        last = index == spread.stages - 1
        if not last:
            collective = collective + in_parts(partial(self._pass_on, index), few, parts)
        exposed, exchange = self._kv_exchange(index, counts, few, parts)
        collective = collective + exposed
        return StageTables(
            linear=table(few, linear, upto),
            head=self._head() if last else np.zeros(task.max_sampled + 1),
            experts=table(many, experts, spread.ranks * upto),
            collective=table(few, collective, upto),
            attention=self._attention(counts, parts),
            exchange=exchange,
            streams=streams,
            shared=table(few, shared, upto) if isinstance(streams, Beside) else None,
            parts=parts,
        )

    def _gaps(self, tokens: Array) -> list[Array]:
        return [np.where(tokens > 0, self.layer_s, 0.0)]

    def _projections(self, layer: Layer, work: LayerWork, tokens: Array, parts: int) -> list[Array]:
        """The projections around attention: in one piece, as a prompt runs them, where they were
        measured so."""
        for w in attention_works(self.task, layer):
            if self.kernels.block_s(w, tokens[:1], decode=False) is not None:
                return [in_parts(partial(self._block, w), tokens, parts)]
        return self._products(work.projections, tokens, parts)

    def _block(self, work: AttentionWork, tokens: Array) -> Array:
        made = self.kernels.block_s(work, tokens, decode=False)
        return np.zeros_like(tokens) if made is None else made

    def _products(self, products: tuple[Product, ...], tokens: Array, parts: int) -> list[Array]:
        def price(p: Product, tokens: Array) -> Array:
            return self.kernels.product_s(tokens, p.inputs, p.outputs, p.format)

        return [in_parts(partial(price, p), tokens, parts) for p in products]

    def _passes(self, passes: tuple[Pass, ...], tokens: Array, parts: int) -> list[Array]:
        def price(v: Pass, tokens: Array) -> Array:
            return self.kernels.pass_s(tokens, v.numbers)

        return [in_parts(partial(price, v), tokens, parts) for v in passes]

    def _routed(self, work: LayerWork, tokens: Array, parts: int) -> list[Array]:
        """The routed experts, for `tokens` of all ranks."""
        routed = work.routed
        if routed is None:
            return []
        passing = np.ceil(tokens / self.task.spread.token_parallel)
        return [in_parts(lambda tokens: self.kernels.routed_s(tokens, routed), passing, parts)]

    def _ffn_side(self, layer: Layer, work: LayerWork, tokens: Array, parts: int) -> list[Array]:
        """A layer on feed-forward devices of their own, for `tokens` of all ranks: routed experts
        over all, what every group has a copy of for the group's share of the tokens."""
        groups = self.task.spread.expert_parallel

        def copied(tokens: Array) -> Array:
            mine = np.ceil(tokens / groups)
            of_group = self._products(work.products, mine, 1)
            return added(
                np.zeros_like(tokens), 1, of_group + self._passes(work.ffn_passes, mine, 1)
            )

        return [
            in_parts(copied, tokens, parts),
            *self._routed(work, tokens, parts),
            in_parts(partial(FfnSide(self.task).sum_s, layer), tokens, parts),
        ]

    def _exchanges(
        self, stage: int, exchanges: tuple[Exchange, ...], tokens: Array, parts: int
    ) -> list[Array]:
        return [in_parts(partial(self._exchange, stage, e), tokens, parts) for e in exchanges]

    def _exchange(self, stage: int, e: Exchange, tokens: Array) -> Array:
        among: Collectives = getattr(self.task.wires, e.scope)[stage]
        if e.operation in ("dispatch", "combine"):
            seconds = self.kernels.dispatch_s(tokens, e, among)
        else:
            seconds = getattr(among, f"{e.operation}_s")(tokens * e.bytes_per_token)
        return np.where(tokens > 0, seconds, 0.0)

    def _kv_exchange(
        self, stage: int, counts: Counter[Layer], tokens: Array, parts: int
    ) -> tuple[Array, KvExchange | None]:
        """(exposed seconds by tokens, exchange beside attention) between KV groups."""
        task, spread = self.task, self.task.spread
        hop_b = spread.sharing == "hop_b"
        partials = [np.zeros_like(tokens) for _ in (MESSAGES if hop_b else (1,))]
        keys, upto, cached_s = np.zeros_like(tokens), task.max_rank_tokens, 0.0
        for layer, count in counts.items():
            sent = partial_results(task, layer)
            if sent is None:
                continue
            of_layer = [sent]
            if spread.token_parallel > 1:
                of_layer.append(Exchange("all_gather", query_bytes(task, layer), "kv"))
                hops = in_parts(partial(self._keys, stage, layer), tokens, parts)
                keys = keys + count * hops
                ends = self._keys(stage, layer, np.array([float(upto), 2.0 * upto]))
                cached_s += count * float(ends[1] - ends[0]) / upto
            for i, messages in enumerate(MESSAGES if hop_b else (1,)):
                cut = parts * messages
                exchanged = self._exchanges(stage, tuple(of_layer), tokens, cut)
                partials[i] = added(partials[i], count, exchanged)
        none = np.zeros_like(tokens)
        if not partials[0].any():
            return none, None
        tables = tuple(table(tokens, p, upto) for p in partials)
        if spread.token_parallel == 1:
            return (none, KvExchange(tables)) if hop_b else (partials[0], None)
        law: Law = "ring" if spread.sharing == "ring" else "exposed"
        moved = table(tokens, keys, upto)
        return none, KvExchange(tables, moved, cached_s, law, spread.kv_parallel)

    def _keys(self, stage: int, layer: Layer, tokens: Array) -> Array:
        """Keys and values of `tokens` to all groups: hops round the ring, or one gathering."""
        spread, among = self.task.spread, self.task.wires.kv[stage]
        n = spread.kv_parallel
        whole = np.zeros_like(tokens)
        for w in attention_works(self.task, layer):
            most = np.inf if w.cap_tokens is None else n * w.cap_tokens
            whole = whole + np.minimum(tokens, most) * w.bytes_per_key
        if spread.sharing == "all_gather":
            seconds = among.all_gather_s(whole)
        else:
            seconds = (n - 1) * among.send_s(whole / n)
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
        outputs = -(-task.model.vocab // task.spread.head_tp)
        mine = np.ceil(sampled / task.spread.token_parallel)
        head = self.kernels.product_s(mine, task.model.hidden, outputs, load_format("bf16"))
        if self.sampler_numbers:
            head = head + self.kernels.pass_s(mine, self.sampler_numbers * task.model.vocab)
        return table(sampled, head, upto)

    def _attention(self, counts: Counter[Layer], parts: int) -> tuple[AttentionPrice, ...]:
        """Layers of the same kind of attention priced together."""
        kinds: Counter[AttentionWork] = Counter()
        for layer, count in counts.items():
            for work in attention_works(self.task, layer):
                kinds[work] += count
        return tuple(self._attention_price(work, n, parts) for work, n in kinds.items())

    def _attention_price(self, work: AttentionWork, layers: int, parts: int) -> AttentionPrice:
        """Devices that share a sequence's KV each read and score their part of it."""
        task = self.task
        share = 1.0 / task.spread.kv_parallel
        n, p = task.max_sampled, task.max_rank_tokens
        batch, tokens = grid(n), grid(p)
        decode = decode_in_parts(partial(self.kernels.decode, work), batch, parts)
        decode = decode.times(layers, share)
        asked, answered = (self.kernels.block_s(work, batch, decode=d) for d in (False, True))
        if asked is not None and answered is not None:
            decode = decode.plus(layers * np.maximum(answered - asked, 0.0))
        prefill = prefill_in_parts(partial(self._prefill, work), tokens, parts)
        prefill = prefill.times(layers, share)
        mixed = self.kernels.mixed(work, n, p) if parts == 1 and share == 1.0 else None
        return AttentionPrice(
            cap=-1 if work.cap_tokens is None else task.caps().index(work.cap_tokens),
            mixed=None if mixed is None else mixed.times(layers),
            decode=decode.mapped(lambda values: table(batch, values, n)),
            prefill=prefill.mapped(lambda values: table(tokens, values, p)),
            window=work.cap_tokens or 0,
        )

    def _prefill(self, work: AttentionWork, tokens: Array) -> PrefillTables:
        """Where devices divide the tokens, each scores its share of them against all keys, and
        rebuilds all keys of latent attention but its own, which a product makes."""
        groups = self.task.spread.token_parallel
        if groups == 1:
            return self.kernels.prefill(work, tokens)
        mine = np.ceil(tokens / groups)
        made = self.kernels.prefill(work, mine)
        base = made.base + (tokens - mine) * made.cached
        return replace(made, base=base, key=groups * made.key, cached=groups * made.cached)
