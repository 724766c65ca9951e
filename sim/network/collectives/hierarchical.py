"""Hierarchical: reduce-scatter inside a domain, rings across, all-gather inside a domain."""

from __future__ import annotations

from sim.network.group import Amount, Group, Line, Operation, least, line_seconds, most
from sim.settings import settings

_ROUNDS = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1}


@settings
class Hierarchical:
    """For k devices in each of m domains, all k network links work side by side: between domains
    each carries rounds · (m−1)/m · bytes/k, inside each device moves rounds · (k−1)/k · bytes
    (Thakur, Rabenseifner and Gropp 2005; NCCL's multi-rail rings reach the same bound). Chunks are
    taken to be pipelined through the phases, as NCCL does: the latencies of all phases add up, of
    the bytes the slower phase counts."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """Even groups over several domains, with at least two devices in each."""
        tuning = group.tuning
        return (
            operation in _ROUNDS
            and group.domains > 1
            and group.per_domain > 1
            and group.even
            and bool(tuning.ring and tuning.scale_out)
        )

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """The best pair of lines for the inner and the outer phases."""
        rounds, tuning = _ROUNDS[operation], group.tuning
        pairs = [(inner, outer) for inner in tuning.ring for outer in tuning.scale_out]
        best = _seconds(group, rounds, *pairs[0], nbytes)
        for inner, outer in pairs[1:]:
            best = least(best, _seconds(group, rounds, inner, outer, nbytes))
        return best


def _seconds(group: Group, rounds: int, inner: Line, outer: Line, nbytes: Amount) -> Amount:
    k, m = group.per_domain, group.domains
    near, far = rounds * (k - 1), rounds * (m - 1)
    latency = inner.launch_s + near * (group.scale_up_latency_s + inner.step_s)
    latency += outer.launch_s + far * (group.scale_out_latency_s + outer.step_s)
    wire, up = nbytes * (near / k), group.scale_up_bytes_per_s
    bulk = Line(efficiency=inner.efficiency, copy_ratio=inner.copy_ratio)
    inside = line_seconds(bulk, 0, 0.0, wire, up, nbytes / k)
    outside = nbytes * (far / (m * k)) / (outer.efficiency * group.scale_out_bytes_per_s)
    return latency + most(inside, outside)
