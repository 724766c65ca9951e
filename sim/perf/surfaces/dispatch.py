"""Expert-parallel dispatch and combine: DeepEP's two modes, one-sided all-to-all in a rack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.network.collectives import Group

Array = NDArray[np.float64]
Pair = tuple[float, float]

DISPATCH, COMBINE = 0, 1


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Seconds to send tokens to their experts (dispatch) and to bring the results back (combine),
    with top-k experts drawn evenly. Every figure is a pair: of dispatch, of combine.

    seconds = launch + experts · expert_s + hidden · value_s + further domains · domain_s
              + tokens · (token_s + max(NVLink, network, engines, receive))

    - NVLink: copies inside the domain × bytes ÷ (`up` · scale-up bandwidth). A token goes once to
      each of its experts (`copies_per: expert`, DeepEP low latency), or once to each device that
      has one of them (`device`, DeepEP normal mode and one-sided all-to-all).
    - network: copies into other domains × bytes ÷ (`out` · scale-out bandwidth), slower by
      `congestion` for every domain beyond the second. To each expert, or once per domain, from
      where NVLink carries it on; node-limited routing caps the domains of a token.
    - engines: the streaming multiprocessors that do the exchange share the tokens. One takes
      `token_s` per token for looking at it and, side by side with the wires, `byte_s` per byte of
      every copy and `relay_s` per byte of those that leave the domain.
    - receive: a group of warps serves each expert, `receive_s` per token that arrives there; it
      shows where experts are few.

    DeepEP: github.com/deepseek-ai/DeepEP and arXiv 2412.19437, §3.2.2 and §3.4. The defaults are a
    plain roofline: wires at 0.8 of their rate and a launch of 10 µs.
    """

    copies_per: str = "device"
    """`expert` or `device`."""
    launch_s: Pair = (10e-6, 10e-6)
    """Of a call inside one domain."""
    value_s: Pair = (0.0, 0.0)
    """Per value of a token: what the first one takes through the pipeline."""
    expert_s: Pair = (0.0, 0.0)
    """Per expert of the layer: flags and counts."""
    far_launch_s: Pair = (0.0, 0.0)
    """Once if there are several domains: network round trips, and notification."""
    domain_s: Pair = (0.0, 0.0)
    """Per domain beyond the second."""
    up: Pair = (0.8, 0.8)
    """Achieved fraction of scale-up bandwidth."""
    out: Pair = (0.8, 0.8)
    """Achieved fraction of scale-out bandwidth."""
    congestion: Pair = (0.0, 0.0)
    """Slow-down of the network for every domain beyond the second, of one."""
    engines: Pair = (1.0, 1.0)
    """Streaming multiprocessors at which the rates below were fitted, and hold when not told."""
    token_s: Pair = (0.0, 0.0)
    """Per token, of one engine."""
    byte_s: Pair = (0.0, 0.0)
    """Per byte of every copy, of one engine."""
    relay_s: Pair = (0.0, 0.0)
    """Per byte that leaves the domain, of one engine."""
    receive_s: Pair = (0.0, 0.0)
    """Per token that arrives at one expert."""
    token_bytes: Pair = (0.0, 0.0)
    """Of every copy, besides the values: indices, weights."""

    def dispatch_seconds(
        self,
        tokens: Array,
        group: Group,
        *,
        hidden: int,
        top_k: int,
        experts: int,
        bytes_per_value: float = 1.03125,
        max_domains: int | None = None,
        engines: float | None = None,
    ) -> Array:
        """Seconds for `tokens` per device, sent in 1 byte per value and a scale of 4 bytes for 128
        of them (FP8, DeepSeek-V3) unless told otherwise. `engines`: streaming multiprocessors."""
        shape = _Shape(group, hidden, top_k, experts, bytes_per_value, max_domains)
        return self._seconds(DISPATCH, tokens, shape, engines)

    def combine_seconds(
        self,
        tokens: Array,
        group: Group,
        *,
        hidden: int,
        top_k: int,
        experts: int,
        bytes_per_value: float = 2.0,
        max_domains: int | None = None,
        engines: float | None = None,
    ) -> Array:
        """Seconds to return the results of `tokens` per device, in BF16 unless told otherwise."""
        shape = _Shape(group, hidden, top_k, experts, bytes_per_value, max_domains)
        return self._seconds(COMBINE, tokens, shape, engines)

    def _seconds(self, way: int, tokens: Array, shape: _Shape, engines: float | None) -> Array:
        group = shape.group
        if group.size == 1:
            return np.zeros(np.shape(tokens))
        further = max(group.domains - 2, 0)
        fixed = self.launch_s[way] + shape.experts * self.expert_s[way]
        fixed += shape.hidden * self.value_s[way]
        if group.domains > 1:
            fixed += self.far_launch_s[way] + further * self.domain_s[way]
        size = shape.hidden * shape.bytes_per_value + self.token_bytes[way]
        near, far, copies = shape.copies(self.copies_per)
        rate = self.up[way] * group.scale_up_bytes_per_s
        per_token = near * size / rate
        if group.domains > 1:
            slowed = 1.0 + further * self.congestion[way]
            out = self.out[way] * group.scale_out_bytes_per_s / slowed
            per_token = max(per_token, far * size / out)
        relayed = far if group.domains > 1 else 0.0
        work = size * (copies * self.byte_s[way] + relayed * self.relay_s[way])
        shared = engines or self.engines[way]
        per_token = max(per_token, work / shared)
        received = shape.top_k * group.size / shape.experts * self.receive_s[way]
        return fixed + tokens * (self.token_s[way] / shared + max(per_token, received))


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is sent: the model's side and the group's."""

    group: Group
    hidden: int
    top_k: int
    experts: int
    bytes_per_value: float
    max_domains: int | None

    def copies(self, copies_per: str) -> tuple[float, float, float]:
        """Copies of one token (into the own domain by NVLink, into other domains, in all), with
        experts drawn evenly: those that a device keeps for itself cross no wire."""
        group, k = self.group, float(self.top_k)
        n, m = group.size, group.domains
        if copies_per == "expert":
            return k * (group.per_domain - 1) / n, k * (n - group.per_domain) / n, k
        reach = min(m, self.max_domains or m)
        share = reach / m
        experts = self.experts * share
        devices = n * share * _hit(n * share, experts, k)
        domains = reach * _hit(reach, experts, k)
        return devices * (n - 1) / n, domains * (m - 1) / m, devices


def _hit(bins: float, experts: float, top_k: float) -> float:
    """Chance that one of equal `bins` of the experts holds at least one of `top_k` different ones:
    1 − ∏ (experts − experts/bins − i) ÷ (experts − i)."""
    missed, per_bin = 1.0, max(experts / bins, 1.0)
    for i in range(int(min(top_k, experts))):
        missed *= max(experts - per_bin - i, 0.0) / (experts - i)
    return 1.0 - missed


ONE_SIDED = Dispatch(
    launch_s=(16.8e-6, 15.2e-6),
    up=(0.588, 0.9),
    token_s=(9.1e-9, 1.06e-7),
)
"""One-sided all-to-all in an NVL72 rack, variant `one_sided`: least squares on 36 figures of
AIConfigurator's TensorRT-LLM tables for GB200 (hidden size 7168, 8 of 256 experts, balanced; 1 to
4096 tokens per rank; dispatch in NVFP4 on 8 and 32 ranks and in BF16 on 8 and 64, combine in BF16
on 8 and 64), mean error 10 %. Combine is held to at most 0.9 of NVLink."""
