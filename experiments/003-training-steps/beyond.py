"""What a trainer needs beyond a single step, beside published figures:
`python experiments/003-training-steps/beyond.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from run import gpt, row
from scale import scale

from sim.catalog.gpu import load_gpu
from sim.catalog.model import DenseFfn, GroupedAttention, Layer, Model, load_model
from sim.network.machine import read_machine
from sim.network.topology import Topology, build_topology, load_topology
from sim.perf.training import Recipe, Swap, TrainingLayout, even_batch, step_flops, trainer
from sim.perf.training.checkpoints import Checkpoints, StateBytes, checkpoint_cost, state_bytes
from sim.perf.training.nics import Nics
from sim.perf.training.recoveries import Damage
from sim.perf.training.recoveries.neighbour_average import NeighbourAverage
from sim.perf.training.recoveries.redundant import Redundant
from sim.perf.training.recoveries.restart import Restart
from sim.perf.training.recovery import (
    dropped_speed,
    going_on_s,
    ideal_speed,
    rebalanced_speed,
    rollback_s,
)
from sim.perf.training.reshard import full_gather_bytes, nested_engines, reshard
from sim.perf.training.sizes import stages_of
from sim.perf.training.sync_plan import plan_sync
from sim.perf.training.transfers import alone_s
from sim.perf.training.weight_sync import WeightSync, sync_s

H100, A100 = load_gpu("h100"), load_gpu("a100-80")


@dataclass(frozen=True, slots=True)
class Sync:
    """One published weight synchronisation."""

    name: str
    params: float
    tensors: int
    senders: int
    engines: int
    width: int
    theirs: str
    sync: WeightSync
    one_node: bool = False
    gathers: bool = False


DIRECT = WeightSync(reload_s=0.0)
GATHERED = replace(DIRECT, gather="tensors")
SENDER = replace(GATHERED, by="sender")
SYNCS = (
    Sync("NeMo-RL 4B, bf16", 4.02e9, 398, 8, 1, 8, "0.21–0.34 (fitted)", WeightSync()),
    Sync("NeMo-RL 30B, bf16", 30.5e9, 18867, 8, 1, 8, "0.74–1.00 (fitted)", WeightSync()),
    Sync("NeMo-RL 30B, FP8", 30.5e9, 18867, 8, 1, 8, "2.9–4.0 (fitted)",
         WeightSync(bytes_per_param=1.0, quantise="sender")),
    Sync("veRL 7B, engine", 7.6e9, 339, 4, 1, 4, "0.02", GATHERED, True, True),
    Sync("veRL 7B, before", 7.6e9, 339, 4, 1, 4, "0.12", SENDER, True, True),
    Sync("veRL 30B, engine", 30.5e9, 18867, 16, 2, 8, "4.38", GATHERED, False, True),
    Sync("veRL 30B, before", 30.5e9, 18867, 16, 2, 8, "15.76", SENDER, False, True),
    Sync("veRL 235B, engine", 235.1e9, 36945, 64, 8, 8, "23.70", GATHERED, False, True),
    Sync("veRL 235B, before", 235.1e9, 36945, 64, 8, 8, "58.57", SENDER, False, True),
    Sync("LlamaRL 70B, direct", 70.6e9, 723, 128, 16, 8, "1.15", DIRECT),
    Sync("OpenRLHF 70B", 70.6e9, 723, 128, 16, 8, "111.65", SENDER, False, True),
    Sync("LlamaRL 405B, direct", 405.9e9, 1138, 512, 64, 8, "about 2", DIRECT),
    Sync("Laminar 32B, stall", 32.8e9, 707, 64, 1, 8, "0.64", DIRECT),
    Sync("Laminar 72B, stall", 72.7e9, 963, 64, 1, 8, "1.40", DIRECT),
)  # fmt: skip
"""Senders, engines and widths of all but veRL's GPU counts are assumed; H100 nodes for all. Of
Laminar what stalls the trainer: the first hop, into the first relay."""


def syncs() -> Iterator[str]:
    """Seconds, by the closed form and played alone on the wires."""
    for s in SYNCS:
        first = s.senders if s.one_node else 8 * -(-s.senders // 8)
        nodes = -(-(first + s.engines * s.width) // 8)
        topology = load_topology("dgx_h100", nodes=nodes)
        engines = tuple(
            tuple(range(first + i * s.width, first + (i + 1) * s.width)) for i in range(s.engines)
        )
        given = {
            "params": s.params, "tensors": s.tensors, "senders": tuple(range(s.senders)),
            "engines": engines, "gathered_params": s.params if s.gathers else 0.0,
        }  # fmt: skip
        time = sync_s(s.sync, H100, topology, **given)
        wires = plan_sync(s.sync, H100, topology, **given).wire_s(topology)
        rest = time.quantise_s + time.reload_s
        yield (
            f"| {s.name} | {s.theirs} | {time.seconds:.2f} | gather {time.gather_s:.2f}, wire "
            f"{time.wire_s:.2f} (played {wires:.2f}), tensors {time.tensors_s:.2f}, "
            f"rest {rest:.2f} |"
        )


def reshards() -> Iterator[str]:
    """Bytes and seconds between layouts on 16 nodes of 8 A100 (HybridFlow's machine)."""
    topology = load_topology("dgx_a100", nodes=16)
    for name, billions, tp, pp, width in (
        ("7B", 7.6, 8, 1, 1), ("7B", 7.6, 8, 1, 2), ("13B", 13.0, 8, 1, 4),
        ("70B", 70.6, 8, 2, 4), ("70B", 70.6, 8, 2, 8),
    ):  # fmt: skip
        layout = TrainingLayout(tp=tp, pp=pp, dp=128 // tp // pp)
        weights = 2e9 * billions
        plain = tuple(tuple(range(i, i + width)) for i in range(0, 128, width))
        placed = (nested_engines(layout, width), plain)
        made = [reshard(layout, e, width, dense_bytes=weights) for e in placed]
        seconds = [alone_s(topology, m.transfers) for m in made]
        cells = " | ".join(
            f"{m.received_bytes / 1e9:.1f} | {m.peak_bytes / 1e9:.1f} | {t:.3f}"
            for m, t in zip(made, seconds, strict=True)
        )
        full = full_gather_bytes(weights, pp, tp) / 1e9
        yield f"| {name} | tp {tp}, pp {pp} → tp {width} | {full:.1f} | {cells} |"


def checkpoints() -> Iterator[str]:
    """70B on 256 A100, a checkpoint every step. assumed: 650 GB/s to the file system."""
    layout = TrainingLayout(tp=4, pp=8, dp=8, sequence_parallel=True)
    model, recipe = load_model("llama-3.1-70b"), Recipe(recompute="full", zero=1)
    topology = load_topology("dgx_a100", nodes=32)
    step = trainer(model, A100, topology, layout, recipe).plan(even_batch(256, 2048, 1, 8))
    states: StateBytes = state_bytes(stages_of(layout, model, recipe), layout, recipe)
    for mode in ("blocking", "lazy"):
        settings = Checkpoints(interval_steps=1, mode=mode, save_bytes_per_s=650e9)
        cost = checkpoint_cost(settings, A100, states, step.seconds, step.pipeline_s)
        longer = 1 + cost.stall_s / step.seconds
        yield (
            f"| {mode} | {states.total / 1e12:.2f} TB, {states.per_gpu / 1e9:.2f} GB a GPU | "
            f"{step.seconds:.2f} | {cost.stall_s:.2f} | {cost.durable_s:.2f} | {longer:.2f} |"
        )


def survivors() -> Iterator[str]:
    """Throughput of 95 of 96 devices."""
    for tp, pp, dp, layers in ((8, 4, 3, 80), (4, 8, 3, 80), (8, 2, 6, 80), (2, 8, 6, 96)):
        naive, moved = dropped_speed(dp), rebalanced_speed(layers, pp, dp)
        yield (
            f"| TP{tp}·PP{pp}·DP{dp}, {layers} layers | {naive:.3f} | {moved:.3f} | "
            f"{ideal_speed(96):.3f} | {moved / naive:.2f} |"
        )


def wall_clock() -> Iterator[str]:
    """CheckFree's comparison; the inputs of `test_training_recovery`."""
    damage = Damage(0.0, 30.0, 0.5e9, 0.0, 60e6, 1.0)
    step, steps = 90.0, 5000
    for hourly in (0.01, 0.05, 0.10, 0.16):
        mtbf = 3600.0 / (hourly * 6)
        stop = Restart().outage(damage).stop_s
        rolled = rollback_s(steps, step, 100 * step, 10.0, mtbf, stop)
        longer = step + Redundant().overhead_s(step / 3, 0.0)
        redundant = going_on_s(steps, longer, mtbf, Redundant().outage(damage))
        ours = [
            going_on_s(steps, step, mtbf, NeighbourAverage(extra_steps=x).outage(damage))
            for x in (0.0, 5.0, 10.0, 20.0)
        ]
        cells = " | ".join(f"{x / 3600:.0f}" for x in (rolled, redundant, *ours))
        yield f"| {100 * hourly:.0f} % | {cells} |"


def holmes() -> Iterator[str]:
    """GPT-3.6B. assumed: two stages, 768 sequences in micro-batches of four, nothing recomputed."""
    printed = {(4, "infiniband"): 197, (4, "roce"): 160, (4, "ethernet"): 122,
               (8, "infiniband"): 148, (8, "roce"): 145, (8, "ethernet"): 83}  # fmt: skip
    for nodes in (4, 8):
        for kind, gbit in (("infiniband", 200), ("roce", 100), ("ethernet", 100)):
            nics = Nics(nodes=(kind,) * nodes)
            seconds, flops = _gpt_step(_nodes(nodes, gbit * 1e9 / 8), nodes, nics, None)
            name = f"{nodes} nodes, {kind}"
            yield f"{row(name, 'TFLOP/s/GPU', printed[nodes, kind], flops)} {seconds:.2f} s |"
    topology = _nodes(8, 25e9)
    nics = Nics(nodes=("infiniband", "roce") * 4)
    for name, chosen, devices in (
        ("one network for all", None, None), ("naive", nics, None),
        ("placed by network", nics, nics.together(topology)),
    ):  # fmt: skip
        seconds, flops = _gpt_step(topology, 8, chosen, devices)
        yield f"| 8 nodes, 4 + 4: {name} | TFLOP/s/GPU | – | {flops:.4g} | – | {seconds:.2f} s |"


def _nodes(nodes: int, nic_bytes_per_s: float) -> Topology:
    _, machine = read_machine("dgx_a100")
    group = machine.groups[0]
    shape = replace(group.shape, nic_bytes_per_s=nic_bytes_per_s)  # type: ignore[type-var]
    return build_topology(
        "holmes", replace(machine, groups=(replace(group, nodes=nodes, shape=shape),))
    )


def _gpt_step(
    topology: Topology, nodes: int, nics: Nics | None, devices: tuple[int, ...] | None
) -> tuple[float, float]:
    layout, recipe = TrainingLayout(pp=2, dp=4 * nodes), Recipe(rotary=False, zero=1)
    made = trainer(
        gpt(30, 3072, 32, tied=False), A100, topology, layout, recipe, devices=devices, nics=nics
    )
    step = made.plan(even_batch(768, 2048, 4, layout.dp))
    return step.seconds, step.flops_per_s_per_gpu / 1e12


def long_sequences() -> Iterator[str]:
    """A 7B model on 8 A100 (MEMO: A800), one sequence. assumed: tp 8, sequence parallelism."""
    topology = load_topology("dgx_a100", nodes=1)
    layout = TrainingLayout(tp=8, sequence_parallel=True)
    layer = Layer(GroupedAttention(32, 32, 128), DenseFfn(11008))
    model = Model("7B", 4096, 32000, (layer,) * 32, False, 2**21, "Llama 2 7B")
    for tokens in (2**16, 2**18, 2**20):
        for swap in (None, Swap()):
            recipe = Recipe(recompute="full", zero=1, swap=swap)
            made = trainer(model, A100, topology, layout, recipe)
            step = made.plan(even_batch(1, tokens, 1, 1), check=False)
            causal = step_flops(model, recipe, tokens, tokens**2 / 2).model
            mfu = causal / step.seconds / 8 / step.peak_flops_per_s
            theirs = "0.523" if swap and tokens == 2**20 else "–"
            fits = "yes" if step.memory.fits else "no"
            name = "swap" if swap else "recompute"
            yield f"| {tokens} | {name} | {fits} | {step.seconds:.1f} | {theirs} | {mfu:.3f} |"


def table(title: str, head: str, lines: Iterator[str]) -> None:
    """One table of Markdown."""
    print(f"\n## {title}\n\n| {head} |\n|{'---|' * (head.count('|') + 1)}")
    print("\n".join(lines))


def main() -> None:
    """All tables."""
    table("Weight synchronisation, H100", "run | theirs, s | ours, s | parts", syncs())
    head = "model | layouts | full gather, GB | nested: received, GB | peak, GB | s"
    table("Resharding", f"{head} | neighbours: received, GB | peak, GB | s", reshards())
    head = "mode | states | step, s | stall, s | durable after, s | step with checkpoint"
    table("A checkpoint every step", head, checkpoints())
    head = "layout | a replica dropped | layers moved | devices left | moved over dropped"
    table("One of 96 devices lost: throughput", head, survivors())
    head = "failures per stage and hour | checkpoints, h | redundant, h | averaged, 0 steps, h"
    table("5,000 steps of 90 s", f"{head} | 5 | 10 | 20", wall_clock())
    table("Networks", "run | quantity | theirs | ours | ratio | step", holmes())
    head = "tokens | activations | fits | step, s | theirs, MFU | ours, causal"
    table("Long sequences", head, long_sequences())
    head = "samples, replicas, tokens | micro-batches | packing, s | plan, s | forward, s"
    table("Packing and planning 65,536 samples", head, scale())


if __name__ == "__main__":
    main()
