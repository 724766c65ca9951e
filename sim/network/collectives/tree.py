"""Tree: all-reduce over a double binary tree of domains, for few bytes among many domains."""

from __future__ import annotations

from sim.network.group import Amount, Group, Line, Operation, least, line_seconds, most
from sim.settings import settings


@settings
class Tree:
    """Two binary trees over the m domains, each for half of the data, such that a domain is a leaf
    in one and an inner node in the other (Sanders, Speck and Träff 2009; NCCL 2.4's trees): up and
    down in 2 · ⌈log2 m⌉ steps, every domain receives and sends 2 · bytes, over the network links
    of its k devices side by side. Inside a domain the data come together and spread again either
    along the ring's neighbours, in 2(k−1) steps, or in the switch (NCCL's NVLS tree), in two.
    Pipelined: latencies add up, of the bytes the slower phase counts."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """All-reduce of even groups over several domains."""
        tuning = group.tuning
        across = group.domains > 1 and group.even
        return operation == "all_reduce" and across and bool(tuning.ring and tuning.scale_out)

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """The best of ring and switch inside, with the best line across."""
        k, tuning = group.per_domain, group.tuning
        ways = [(line, 2 * (k - 1), 2 * (k - 1) / k) for line in tuning.ring]
        if k > 2:
            ways += [(line, 2, 1.0) for line in tuning.in_switch]
        (inner, steps, share), *others = ways
        best = _best(group, inner, steps, nbytes * share, nbytes)
        for inner, steps, share in others:
            best = least(best, _best(group, inner, steps, nbytes * share, nbytes))
        return best


def _best(group: Group, inner: Line, steps: int, wire: Amount, nbytes: Amount) -> Amount:
    first, *others = group.tuning.scale_out
    best = _seconds(group, inner, steps, wire, first, nbytes)
    for outer in others:
        best = least(best, _seconds(group, inner, steps, wire, outer, nbytes))
    return best


def _seconds(
    group: Group, inner: Line, steps: int, wire: Amount, outer: Line, nbytes: Amount
) -> Amount:
    depth = 2 * (group.domains - 1).bit_length()
    latency = inner.launch_s + steps * (group.scale_up_latency_s + inner.step_s)
    latency += outer.launch_s + depth * (group.scale_out_latency_s + outer.step_s)
    kept = nbytes / group.per_domain
    bulk = Line(efficiency=inner.efficiency, copy_ratio=inner.copy_ratio)
    inside = line_seconds(bulk, 0, 0.0, wire, group.scale_up_bytes_per_s, kept)
    share = nbytes * (2 / group.per_domain)
    return latency + most(inside, share / (outer.efficiency * group.scale_out_bytes_per_s))
