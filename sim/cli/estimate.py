"""`sim estimate`: one design point without a scenario file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli.options import Json, Set
from sim.cli.output import out_console, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sim.search.answer import Estimate, PoolUse
    from sim.search.point import Split

SHOWN = 8
"""Assumptions on the terminal."""


def estimate(
    model: Annotated[str, typer.Option(help="Model of the catalog, or a config.json.")],
    gpu: Annotated[str, typer.Option(help="GPU of the catalog.")],
    isl: Annotated[int, typer.Option(min=1, help="Prompt tokens.")],
    osl: Annotated[int, typer.Option(min=1, help="Output tokens.")],
    concurrency: Annotated[
        int,
        typer.Option(
            min=1,
            help="Clients, each asking again when answered; of one decode engine where the "
            "number of those is open.",
        ),
    ],
    tp: Annotated[int, typer.Option(min=1, help="GPUs that share every layer.")] = 1,
    pp: Annotated[int, typer.Option(min=1, help="Pipeline stages.")] = 1,
    ep: Annotated[int, typer.Option(min=1, help="Groups that the experts are dealt to.")] = 1,
    dp: Annotated[int, typer.Option(min=1, help="Attention ranks; experts over all.")] = 1,
    layout: Annotated[
        str | None, typer.Option(metavar="YAML", help="Any layout, instead of the four above.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Number format of the weights.")] = None,
    experts: Annotated[str | None, typer.Option(help="Of the routed experts.")] = None,
    kv: Annotated[str | None, typer.Option(help="Of the KV cache.")] = None,
    activations: Annotated[str | None, typer.Option(help="Of what meets the weights.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(metavar="NAME-VERSION", help="Whose kernels and host, such as vllm-0.24."),
    ] = None,
    timer: Annotated[
        str, typer.Option(metavar="YAML", help="Where step times come from.")
    ] = "calibrated",
    max_num_batched_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Most tokens of a step on a rank.", show_default="8192"),
    ] = None,
    topology: Annotated[
        str | None, typer.Option(metavar="NAME", help="Machine; that of the GPU when left out.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="As many as needed if left out.")] = None,
    mode: Annotated[str, typer.Option(help="aggregated or disaggregated.")] = "aggregated",
    prefill_tp: Annotated[
        int | None, typer.Option(min=1, help="GPUs of a prefill engine; as --tp if left out.")
    ] = None,
    prefill_layout: Annotated[
        str | None, typer.Option(metavar="YAML", help="Any layout of a prefill engine.")
    ] = None,
    prefill_engines: Annotated[
        int | None, typer.Option(min=1, help="Rate-matched when left out.")
    ] = None,
    decode_engines: Annotated[
        int | None,
        typer.Option(min=1, help="Rate-matched when left out; concurrency is then of one."),
    ] = None,
    speculation: Annotated[
        str | None,
        typer.Option(metavar="YAML", help="Who drafts: eagle, mtp, draft_model, ngram; settings."),
    ] = None,
    changes: Set = None,
    json: Json = False,
) -> None:
    """Answer one design point without playing it: latencies, rates, memory and what they rest on.

    [bold]Examples[/bold]

      sim estimate --model llama-3.1-70b --gpu h100 --tp 4 --isl 4000 --osl 500 --concurrency 64

      sim estimate --model deepseek-v3 --gpu h200 --dp 8 --isl 4000 --osl 1000 --concurrency 256
      --mode disaggregated --json

      sim estimate --model llama-3.1-8b --gpu h100 --isl 1000 --osl 500 --concurrency 8
      --speculation 'eagle: {draft_tokens: auto, acceptance: {iid: 0.75}}'
    """
    from sim.search.estimate import estimate
    from sim.search.point import Point

    own = _layout(layout, tp, pp, ep, dp)
    split = _split(mode, own, prefill_tp, prefill_layout, prefill_engines, decode_engines)
    formats = {"weights": weights, "experts": experts, "kv": kv, "activations": activations}
    _check_names(model, gpu, formats, engine)
    point = Point(
        model=model,
        gpu=gpu,
        prompt_tokens=isl,
        output_tokens=osl,
        concurrency=concurrency,
        layout=own,
        precision={k: v for k, v in formats.items() if v is not None},
        timer=_timer(timer, engine),
        engine=_engine(max_num_batched_tokens),
        split=split,
        topology=topology,
        nodes=nodes,
        changes=tuple(changes or ()),
        speculation=None if speculation is None else _yaml("--speculation", speculation),
    )
    found = estimate(point)
    if json:
        print_json(found.plain())
    else:
        _print(found, out_console())


def _engine(max_num_batched_tokens: int | None) -> dict[str, int]:
    """What is said of an engine's limits."""
    if max_num_batched_tokens is None:
        return {}
    return {"max_num_batched_tokens": max_num_batched_tokens}


def _layout(given: str | None, tp: int, pp: int, ep: int, dp: int) -> object:
    """As a scenario writes it."""
    from sim.errors import ScenarioError

    if given is not None:
        if max(tp, pp, ep, dp) > 1:
            raise ScenarioError(
                f"--layout {given!r} says all of the layout; leave --tp, --pp, --ep and --dp out"
            )
        return _yaml("--layout", given)
    if dp == 1:
        sizes = {"tp": tp, "pp": pp, "ep": ep}
        chosen = {k: v for k, v in sizes.items() if v > 1}
        return {"tensor": chosen} if chosen else "single"
    if pp > 1:
        raise ScenarioError(f"--pp {pp} does not go with --dp {dp}; leave one of them out")
    if ep not in (1, dp * tp):
        raise ScenarioError(
            f"--ep {ep} does not go with --dp {dp}: its experts are dealt over all {dp * tp} GPUs; "
            "leave --ep out"
        )
    return {"dp_attention": {"dp": dp, "tp": tp}}


def _yaml(option: str, text: str) -> object:
    """Settings as YAML, also written without the blank: `helix:{kvp: 8}`."""
    from sim.scenario.yaml_text import read_yaml

    return read_yaml(re.sub(r"^(\w+):(?=\S)", r"\1: ", text), f"{option} {text!r}")


def _timer(text: str, engine: str | None) -> object:
    """The timer's settings, with the engine's profile."""
    from sim.errors import ScenarioError

    given: Any = _yaml("--timer", text)
    if engine is None:
        return given
    if given != "calibrated":
        raise ScenarioError(
            f"--engine {engine} has no effect with --timer {text}; leave one of them out"
        )
    return {"calibrated": {"engine_profile": engine}}


def _split(
    mode: str,
    own: object,
    tp: int | None,
    layout: str | None,
    prefill_engines: int | None,
    decode_engines: int | None,
) -> Split | None:
    from sim.errors import ScenarioError, suggest
    from sim.search.point import Split

    known = ("aggregated", "disaggregated")
    if mode not in known:
        raise ScenarioError(f"--mode is '{mode}'{suggest(mode, known)}")
    if mode == "aggregated":
        given = {
            "--prefill-tp": tp, "--prefill-layout": layout,
            "--prefill-engines": prefill_engines, "--decode-engines": decode_engines,
        }  # fmt: skip
        for name, value in given.items():
            if value is not None:
                raise ScenarioError(
                    f"{name} has no effect with --mode aggregated; write --mode disaggregated"
                )
        return None
    if tp is not None and layout is not None:
        raise ScenarioError("--prefill-layout says all of the layout; leave --prefill-tp out")
    first = own
    if tp is not None:
        first = _layout(None, tp, 1, 1, 1)
    elif layout is not None:
        first = _yaml("--prefill-layout", layout)
    return Split(first, prefill_engines, decode_engines)


def _check_names(model: str, gpu: str, formats: dict[str, str | None], engine: str | None) -> None:
    """Name the option in which something of the catalog is misspelt."""
    from sim.catalog.formats import load_format
    from sim.catalog.gpu import load_gpu
    from sim.catalog.model import load_model
    from sim.errors import ScenarioError
    from sim.perf.engine_profile import load_engine_profile

    loads: list[tuple[str, Callable[[str], object], str | None]] = [
        ("--model", load_model, model),
        ("--gpu", load_gpu, gpu),
        ("--engine", load_engine_profile, engine),
        *((f"--{name}", load_format, given) for name, given in formats.items()),
    ]
    for option, load, name in loads:
        try:
            if name is not None:
                load(name)
        except ScenarioError as mistake:
            raise ScenarioError(f"{option}: {mistake}") from None


def _print(found: Estimate, console: Console) -> None:
    from rich.panel import Panel

    point, plan = found.point, found.plan
    sizes = "; ".join(f"{p.engines} × {p.layout} ({p.name})" for p in found.pools)
    title = (
        f"{plan.pools[0].model.name} on {found.gpus} {plan.pools[0].gpu.name}: {sizes}; "
        f"{point.prompt_tokens:,} / {point.output_tokens:,} tokens, "
        f"{_count(f'{found.concurrency:,}', 'client')}"
    )
    console.print(Panel(_numbers(found), title=title, title_align="left"))
    console.print(_breakdown(found))
    for pool in found.pools:
        _print_room(pool, console)
    for limit in found.limits:
        console.print(f"limited: {limit}", style="yellow", markup=False)
    _print_assumptions(found, console)


def _numbers(found: Estimate) -> Table:
    from sim.units import human_seconds

    table = _table()
    first = (
        ""
        if found.first_ttft_s is None
        else (f"{human_seconds(found.first_ttft_s)} when all clients begin at once")
    )
    speed, mean = "–", "–"
    if found.point.output_tokens > 1:
        speed, mean = _rate(found.tokens_per_s_per_user), human_seconds(found.tpot_s)
    rows = [
        ("TTFT", human_seconds(found.ttft_s), first),
        ("TPOT", mean, f"{speed} tokens/s/user"),
        ("output", f"{_rate(found.output_tokens_per_s_per_gpu)} tokens/s/GPU",
         f"{_rate(found.output_tokens_per_s)} tokens/s on {_count(str(found.gpus), 'GPU')}"),
        ("requests", f"{_rate(found.requests_per_s)} /s", f"{human_seconds(found.e2e_s)} each"),
        ("bottleneck", found.bottleneck, _balance(found)),
    ]  # fmt: skip
    did = found.speculation
    for row in [*rows, *(did.cells(_rate) if did else [])]:
        table.add_row(*row)
    return table


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _balance(found: Estimate) -> str:
    """Of pools apart."""
    from sim.units import human_bytes, human_seconds

    if found.match is None or found.handoff_s is None or found.handoff_bytes is None:
        return ""
    moved = f"{human_bytes(found.handoff_bytes)} of KV cross in {human_seconds(found.handoff_s)}"
    return f"prefill ÷ decode rate {1 + found.match.imbalance:.3g}; {moved}"


def _breakdown(found: Estimate) -> Table:
    from sim.units import human_seconds

    table = _table()
    whole = sum(found.breakdown.values())
    for name, seconds in found.breakdown.items():
        if seconds > 1e-4 * whole:
            share = f"{100 * seconds / whole:.1f} %"
            table.add_row(f"  {name.replace('_', ' ')}", human_seconds(seconds), share)
    return table


def _print_room(pool: PoolUse, console: Console) -> None:
    from sim.units import human_bytes

    r, running = pool.room, pool.running
    held = min(running * r.sequence_bytes, r.kv_bytes)
    shown = f"{running:,.0f}" if running >= 10 else f"{running:.2g}"
    console.print(
        f"memory of {pool.name}, per GPU: {human_bytes(r.used_bytes(running))} of "
        f"{human_bytes(r.gpu_bytes)} = {human_bytes(r.weight_bytes)} weights + "
        f"{human_bytes(r.activation_bytes)} activations + {human_bytes(r.reserve_bytes)} reserve + "
        f"{human_bytes(held)} KV of {_count(shown, 'sequence')} at the full {r.whole_tokens:,} "
        f"tokens; the KV pool of {human_bytes(r.kv_bytes)} holds {r.kv_sequences:,} of the mean "
        f"{r.held_tokens:,} tokens",
        markup=False,
    )


def _count(number: str, what: str) -> str:
    """`1 client`, `2 clients`."""
    return f"{number} {what}{'' if number == '1' else 's'}"


def _print_assumptions(found: Estimate, console: Console) -> None:
    rows = found.assumptions()
    console.print(f"assumed or extrapolated: {len(rows)}", style="bold")
    for row in rows[:SHOWN]:
        value = f" = {row['value']}" if row["value"] else ""
        console.print(f"  {row['what']}{value}: {row['source']}", markup=False, style="dim")
    if len(rows) > SHOWN:
        console.print(f"  … and {len(rows) - SHOWN} more: --json", style="dim")


def _table() -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    return table
