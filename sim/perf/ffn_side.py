"""The wires of feed-forward GPUs of their own: among those of a group, and to those of attention.

They lie behind the GPUs of attention, in as many more scale-up domains as they need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.catalog.model import Layer, MoeFfn, NoFfn
from sim.network.collectives import Collectives, Group, default_collectives
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.layer_work import Routed
from sim.perf.task import PriceTask

Array = NDArray[np.float64]

NETWORK_LATENCY_S = 2.7e-6
"""Of the wires between domains, where the GPUs of attention lie in one and show none: one network
hop, NCCL's src/graph/tuning.cc, hwLat, ring LL, NET."""


@dataclass(frozen=True, slots=True)
class FfnSide:
    """The feed-forward GPUs of one engine, on the wires of its attention GPUs."""

    task: PriceTask

    def crossing(self) -> Collectives:
        """Among all GPUs, of both kinds."""
        group, gpu = self.task.wires.stage[0].group, self.task.gpu
        size = group.size + self.task.spread.ffn_devices
        domain = max(gpu.scale_up_domain, group.per_domain)
        if group.domains == 1 and size <= domain:
            return default_collectives(replace(group, size=size, per_domain=size))
        wider = replace(
            group,
            size=size,
            domains=max(-(-size // domain), 2),
            per_domain=min(domain, size - 1),
            scale_out_bytes_per_s=group.scale_out_bytes_per_s or gpu.network_bytes_per_s,
            scale_out_latency_s=group.scale_out_latency_s or NETWORK_LATENCY_S,
        )
        return default_collectives(wider)

    def within(self) -> Collectives:
        """Among the GPUs that share a layer."""
        group: Group = self.task.wires.stage[0].group
        tp = self.task.spread.ffn_tp
        return default_collectives(replace(group, size=tp, domains=1, per_domain=tp))

    def groups_of_a_token(self, layer: Layer) -> float:
        """Groups that a token goes to: those with one of its experts, drawn independently; of a
        dense layer any one."""
        groups = self.task.spread.expert_parallel
        if not isinstance(layer.ffn, MoeFfn):
            return 1.0
        return float(groups * (1.0 - (1.0 - 1.0 / groups) ** layer.ffn.top_k))

    def transfer_s(self, layer: Layer, routed: Routed | None, tokens: Array) -> Array:
        """There and back for `tokens` of the fullest rank: out of one GPU of attention, or into one
        of the others, whichever has more."""
        if isinstance(layer.ffn, NoFfn):
            return np.zeros_like(tokens)
        spread, hidden = self.task.spread, self.task.model.hidden
        copies = self.groups_of_a_token(layer)
        leaves = copies / spread.attention_tp
        arrives = spread.ranks * copies / (spread.expert_parallel * spread.ffn_tp)
        share = max(leaves, arrives)
        back = (hidden if routed is None else routed.hidden) * ACTIVATION_BYTES
        sent = back if routed is None else routed.hidden * routed.dispatch_bytes
        wires = self.crossing()
        both = wires.send_s(tokens * (sent * share)) + wires.send_s(tokens * (back * share))
        return np.where(tokens > 0, both, 0.0)

    def sum_s(self, layer: Layer, tokens: Array) -> Array:
        """Within a group, for `tokens` of all ranks: the tokens gathered, the sums scattered."""
        if isinstance(layer.ffn, NoFfn):
            return np.zeros_like(tokens)
        share = self.groups_of_a_token(layer) / self.task.spread.expert_parallel
        nbytes = tokens * (share * self.task.model.hidden * ACTIVATION_BYTES)
        within = self.within()
        both = within.all_gather_s(nbytes) + within.reduce_scatter_s(nbytes)
        return np.where(tokens > 0, both, 0.0)
