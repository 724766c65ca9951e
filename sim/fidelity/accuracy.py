"""The accuracy page: every group of every kind as Markdown, good or bad, beside its target."""

from __future__ import annotations

from collections.abc import Iterable

from sim.fidelity.groups import Group
from sim.fidelity.page import percent
from sim.fidelity.targets import target_of
from sim.perf.calibration import Residual, calibration_names, load_calibration

HEADINGS = {
    "ops": "Kernels and collectives",
    "steps": "Steps and layers",
    "points": "Served load points",
    "run": "A served run, request by request",
    "spec": "Speculative decoding",
}
"""Sections, in this order; kinds that are not named come after them."""

ABOUT = {
    "ops": "GPU time of one operation at one shape. *Fitted*: the figures were fitted to these "
    "tables, and the errors are over all rows, those used too. *Held out*: the calibration's own "
    "MAPE on shapes that it had not seen. Without a fit, figures are those of the architecture. "
    "Rows under 20 µs, where launches and noise rule, are groups of their own.",
    "steps": "Passes over whole batches and single layers, priced without playing anything.",
    "points": "Every row is a server under a closed loop, played through the simulator. Settings "
    "of servers and loads are in `sim/fidelity/harness.py`, with their sources.",
    "run": "The recorded requests replayed with the recorded engine's arguments.",
    "spec": "Speed-up over plain decoding, priced from the measured acceptance length, and "
    "acceptance lengths predicted from some draft lengths. The source does not name the machine: "
    "of H100 and H200 with 1 to 8 GPUs, that whose plain step is nearest the plain run is taken.",
}


def accuracy_page(groups: Iterable[Group], command: str) -> str:
    """The page; `command` is how it was made."""
    found = list(groups)
    kinds = [k for k in HEADINGS if any(g.kind == k for g in found)]
    kinds += sorted({g.kind for g in found} - set(kinds))
    parts = [_head(command), _totals(found)]
    parts += [_section(kind, [g for g in found if g.kind == kind]) for kind in kinds]
    parts += [_residuals(), _outside(found)]
    return "\n".join(part for part in parts if part)


def _head(command: str) -> str:
    return f"""# Accuracy

Predicted against measured. With p predicted and m measured seconds of a row, its error is p/m − 1:
MAPE, median and p90 are of its size, bias is its mean with sign. Made by

```sh
{command}
```

`sim validate KIND FILE` does the same for one file, also one of yours ([how](validate.md)).
"""


def _totals(groups: list[Group]) -> str:
    """All rows of a metric together, or its only group, beside the target."""
    lines = ["## Targets", "", *_table_head("kind", "what", *FIGURES, "target", "met")]
    for group in _whole(groups):
        target = target_of(group)
        if target is not None:
            met = {True: "yes", False: "**no**", None: "–"}[target.met_by(group)]
            lines.append(_row(group.kind, group.group, *_figures(group), target.text, met))
    return "\n".join([*lines, ""])


def _whole(groups: list[Group]) -> list[Group]:
    """Totals; of metrics with one group, that group."""
    covered = {(g.kind, g.metric) for g in groups if g.is_total}
    return [g for g in groups if g.is_total or (g.kind, g.metric) not in covered]


def _section(kind: str, groups: list[Group]) -> str:
    """All groups of a kind, short rows last."""
    held = kind == "ops"
    heads = ("group", *FIGURES, *(("fitted", "held out") if held else ()), "outside", "target")
    lines = [f"## {HEADINGS.get(kind, kind)}", "", ABOUT.get(kind, ""), "", *_table_head(*heads)]
    own = [g for g in groups if not g.is_total]
    for group in sorted(own, key=lambda g: g.is_small):
        target = target_of(group)
        missed = target is not None and target.met_by(group) is False
        said = "" if target is None else f"**{target.text}**" if missed else target.text
        cells = [group.group, *_figures(group)]
        if held:
            unseen = held_out(group.group)
            cells += [_fitted(group), percent(unseen.mape) if unseen else "–"]
        lines.append(_row(*cells, f"{group.outside:,}" if group.outside else "", said))
    return "\n".join([*lines, ""])


def _fitted(group: Group) -> str:
    """Whether the figures behind the predictions were fitted to these tables."""
    return "yes" if group.fitted == group.rows > 0 else "in part" if group.fitted else "no"


FIGURES = ("rows", "MAPE", "median", "p90", "bias")


def _figures(group: Group) -> tuple[str, ...]:
    shares = (group.mape, group.median_ape, group.p90_ape)
    return (f"{group.rows:,}", *map(percent, shares), percent(group.bias, signed=True))


def held_out(group: str) -> Residual | None:
    """The residual that a calibration carries for the kernels of a group called
    `GPU ENGINE KERNEL …`: of the entries whose every word is in the group's name, the one with the
    most words. None without one."""
    gpu, engine, *rest = group.split(" (")[0].split(" ")
    calibration = load_calibration(gpu, engine) if rest else None
    if calibration is None:
        return None
    words = _words(" ".join(rest))
    best: tuple[int, Residual | None] = (0, None)
    for kind, variants in calibration.surfaces.items():
        for variant, fitted in variants.items():
            named = _words(f"{kind} {variant}")
            if named <= words and len(named) > best[0]:
                best = len(named), fitted.residual
    return best[1]


def _words(text: str) -> set[str]:
    return set(text.lower().replace("_", " ").split())


def _residuals() -> str:
    """What the calibrations say of themselves."""
    lines = ["## Calibrations on rows held out", ""]
    lines += _table_head("GPU", "engine", "kernel", "variant", *FIGURES, "fitted")
    count = len(lines)
    for name in calibration_names():
        calibration = load_calibration(*name.split("/"))
        if calibration is None:
            continue
        for kind, variants in calibration.surfaces.items():
            for variant, fitted in variants.items():
                r = fitted.residual
                if r is not None:
                    shares = map(percent, (r.mape, r.median_ape, r.p90_ape))
                    lines.append(
                        _row(calibration.gpu, calibration.engine, kind, variant, f"{r.rows:,}",
                             *shares, percent(r.bias, signed=True), calibration.fitted)
                    )  # fmt: skip
    return "\n".join([*lines, ""]) if len(lines) > count else ""


def _outside(groups: list[Group]) -> str:
    """Rows that no model reaches, with the reason; alike reasons together."""
    counts: dict[tuple[str, str], int] = {}
    for group in groups:
        if not group.is_total:
            for why, rows in group.reasons.items():
                counts[group.kind, why] = counts.get((group.kind, why), 0) + rows
    lines = ["## Outside the model's reach", ""]
    if not counts:
        return "\n".join([*lines, "Nothing.", ""])
    lines += _table_head("kind", "why", "rows")
    lines += [_row(kind, why, f"{rows:,}") for (kind, why), rows in sorted(counts.items())]
    return "\n".join([*lines, ""])


def _table_head(*heads: str) -> list[str]:
    return [_row(*heads), "|" + "---|" * len(heads)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"
