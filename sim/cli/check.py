"""`sim check`: a scenario without playing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli.options import Json, ScenarioFile, Set, load_scenario
from sim.cli.output import out_console, print_json

if TYPE_CHECKING:
    from rich.console import Console

Facts = dict[str, Any]


def check(
    scenario: ScenarioFile,
    changes: Set = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all randomness.")] = None,
    json: Json = False,
) -> None:
    """Check a scenario without playing it: what fits where, what is asked, what is assumed.

    [bold]Examples[/bold]

      sim check scenario.yaml

      sim check scenario.yaml --set pools.serve.layout.tensor.tp=2 --json
    """
    from sim.scenario.checking import check
    from sim.scenario.planning import plan

    facts = check(plan(load_scenario(scenario, changes, seed)))
    if json:
        print_json(facts)
    else:
        _print(facts, out_console())


def _print(facts: Facts, console: Console) -> None:
    console.print(f"{facts['name']}: {facts['model']}, {facts['deployment']}", style="bold")
    if facts["description"]:
        console.print(" ".join(facts["description"].split()), style="dim", markup=False)
    for name, pool in facts["pools"].items():
        _print_pool(name, pool, console)
    _print_machine(facts["topology"], console)
    if facts["loop"] is not None:
        _print_loop(facts["loop"], console)
    else:
        _print_workload(facts["workload"], console)
    console.print("\nAssumptions", style="bold")
    for row in facts["assumptions"]:
        value = f" = {row['value']}" if row["value"] else ""
        console.print(f"  {row['what']}{value}: {row['source']}", markup=False)
    for warning in facts["warnings"]:
        console.print(f"\nwarning: {warning}", style="yellow", markup=False)


def _print_pool(name: str, pool: Facts, console: Console) -> None:
    """A pool, with the sum that leaves its KV cache."""
    from sim.units import human_bytes

    formats, m = pool["formats"], pool["memory"]
    console.print(f"\nPool {name}", style="bold")
    console.print(
        f"  {pool['engines']} engines × {pool['gpus_per_engine']} {pool['gpu']} = {pool['gpus']} "
        f"GPUs, layout {pool['layout']}, weights {formats['weights']}, experts "
        f"{formats['experts']}, KV {formats['kv']}"
    )
    usable = m["gpu_bytes"] * m["gpu_memory_utilization"]
    console.print(
        f"  per GPU: {human_bytes(usable)} usable ({human_bytes(m['gpu_bytes'])} × "
        f"{m['gpu_memory_utilization']:g}) − {human_bytes(m['weight_bytes'])} weights − "
        f"{human_bytes(m['activation_bytes'])} activations − {human_bytes(m['reserve_bytes'])} "
        f"reserve = {human_bytes(m['kv_bytes'])} KV cache"
    )
    if did := pool["speculation"]:
        own = f"{did['gpus_per_engine']} GPUs of its own" if did["gpus_per_engine"] else "there too"
        console.print(
            f"  speculation: {did['draft']}, {did['draft_tokens']} drafts "
            f"({did['draft_length']}), {did['verify_tokens']} tokens to verify; "
            f"{human_bytes(did['weight_bytes'])} of weights per GPU, {own}"
        )
    ranks = f" in each of {pool['ranks']} ranks" if pool["ranks"] > 1 else ""
    console.print(
        f"  KV cache: {m['kv_blocks']:,} blocks = {m['kv_tokens']:,} tokens{ranks}; the longest "
        f"sequence has {m['longest_sequence_tokens']:,} tokens (context "
        f"{pool['context_tokens']:,})"
    )


def _print_loop(loop: Facts, console: Console) -> None:
    from sim.units import human_bytes, human_seconds

    m = loop["memory"]
    where = "on the pools' GPUs" if loop["colocated"] else "on GPUs of its own"
    console.print("\nLoop", style="bold")
    console.print(
        f"  {loop['steps']} steps, {loop['cadence']}: {loop['prompts_per_step']:,} prompts × "
        f"{loop['samples_per_prompt']} samples; prompts of {loop['prompt_tokens_mean']:,.0f} "
        f"tokens, answers of {loop['response_tokens_mean']:,.0f} on average and "
        f"{loop['response_tokens_max']:,} at most (first batch)"
    )
    console.print(
        f"  trainer {loop['trainer_layout']}: {loop['trainer_gpus']} GPUs {where}; per GPU "
        f"{human_bytes(m['weight_bytes'])} weights + {human_bytes(m['gradient_bytes'])} gradients "
        f"+ {human_bytes(m['optimizer_bytes'])} optimiser + {human_bytes(m['activation_bytes'])} "
        f"activations + {human_bytes(m['reserve_bytes'])} reserve = "
        f"{human_bytes(m['total_bytes'])} of {human_bytes(m['gpu_bytes'])}"
    )
    console.print(
        f"  first batch: training {human_seconds(loop['train_s'])} (MFU {100 * loop['mfu']:.0f} "
        f"%), log-probabilities {human_seconds(loop['logprob_s'])}; new weights to the engines "
        f"{human_seconds(loop['weights_s'])}, {human_bytes(loop['weights_bytes'])} on the wires"
    )


def _print_machine(topology: Facts, console: Console) -> None:
    gpus = ", ".join(f"{n} {gpu}" for gpu, n in topology["gpus"].items())
    console.print(f"\nMachine {topology['name']}", style="bold")
    console.print(f"  {topology['summary']}", markup=False)
    console.print(
        f"  {topology['nodes']} nodes, {gpus} ({topology['gpus_used']} used, "
        f"{topology['gpus_idle']} idle), {topology['links']} links, fabric {topology['fabric']}"
    )


def _print_workload(workload: Facts, console: Console) -> None:
    console.print("\nWorkload", style="bold")
    line = f"  {workload['count']:,} requests"
    if workload.get("rate_per_s") is not None:
        line += f" in {workload['span_s']:,.1f} s = {workload['rate_per_s']:.4g} per second"
    console.print(line)
    for key, name in (("prompt_tokens", "prompt"), ("output_tokens", "output")):
        if key in workload:
            s = workload[key]
            console.print(
                f"  {name} tokens: mean {s['mean']:,.1f}, median {s['p50']:,.0f}, "
                f"p99 {s['p99']:,.0f}, longest {s['max']:,}"
            )
    shared = workload.get("repeating_prompt_tokens")
    if shared is not None:
        console.print(f"  {100 * shared:.1f} % of the prompt tokens repeat an earlier prefix")
