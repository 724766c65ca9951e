"""Kernels at figures fitted to measured tables, and where no table is, at those of the nearest GPU.

For every kind of kernel the figures are looked for in this order: this GPU under the engine asked
for, this GPU under another engine, a GPU of the same architecture, a GPU of the nearest one, the
surface's own defaults. Figures are relative to data sheets, so those of another GPU are scaled to
this one's peaks. Whatever is not the first is an extrapolation and is listed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sim.catalog.gpu import Gpu, load_gpu
from sim.perf.calibration import Fitted, calibration_names, load_calibration
from sim.plugins import load

NEAREST: dict[str, tuple[str, ...]] = {
    "ampere": ("ampere", "hopper", "blackwell"),
    "hopper": ("hopper", "blackwell", "ampere"),
    "blackwell": ("blackwell", "hopper", "ampere"),
    "blackwell_rtx": ("hopper", "blackwell", "ampere"),
}
"""Architectures in the order in which their figures are tried. assumed: by generation; a GPU that
is not listed is taken like Hopper, the generation with the most tables."""


@dataclass(frozen=True, slots=True)
class Found:
    """A surface and how it was come by."""

    surface: Any
    gpu: str
    engine: str
    variant: str
    fitted: Fitted | None

    @property
    def source(self) -> str:
        """In words, beginning with `assumed:` when nothing was measured."""
        if self.fitted is None:
            return "assumed: default figures of the surface, nothing measured"
        return f"fitted to {self.engine} on {self.gpu} ({self.variant})"


@dataclass(slots=True)
class Shelf:
    """The calibrations in the order in which one GPU under one engine looks into them."""

    gpu: Gpu
    engines: tuple[str, ...]
    """The engine asked for, then those whose kernels are the next best guess."""
    without: frozenset[str] = frozenset()
    """GPUs whose calibrations are not used (to see how a GPU without tables is predicted)."""
    _found: dict[tuple[str, tuple[str, ...]], Found] = field(default_factory=dict)

    def find(self, kind: str, *variants: str) -> Found:
        """The first surface of a kind in any of `variants`, the earlier ones first."""
        key = (kind, variants)
        if key not in self._found:
            self._found[key] = self._look(kind, variants)
        return self._found[key]

    def _look(self, kind: str, variants: tuple[str, ...]) -> Found:
        for gpu, engine in self._places():
            calibration = load_calibration(gpu, engine)
            for variant in variants:
                fitted = calibration.find(kind, variant) if calibration else None
                if fitted is not None:
                    return Found(fitted.surface, gpu, engine, variant, fitted)
        cls = load("sim.perf.surfaces", kind)
        return Found(cls(), self.gpu.name, "none", variants[0], None)

    def variants(self, kind: str) -> tuple[str, ...]:
        """Variants of a kind in the first calibration that has any."""
        for gpu, engine in self._places():
            calibration = load_calibration(gpu, engine)
            if calibration and calibration.surfaces.get(kind):
                return tuple(calibration.surfaces[kind])
        return ()

    def _places(self) -> list[tuple[str, str]]:
        """(GPU, engine) from the nearest to the farthest."""
        there = [tuple(name.split("/")) for name in calibration_names()]
        order = NEAREST.get(self.gpu.architecture, NEAREST["hopper"])

        def distance(place: tuple[str, ...]) -> tuple[int, int, int, float, str]:
            gpu, engine = place
            other = load_gpu(gpu)
            same = gpu != self.gpu.name
            near = order.index(other.architecture) if other.architecture in order else len(order)
            rank = self.engines.index(engine) if engine in self.engines else len(self.engines)
            bandwidth = abs(other.hbm_bytes_per_s / self.gpu.hbm_bytes_per_s - 1.0)
            return same, near, rank, bandwidth, gpu + engine

        kept = [p for p in there if p[0] not in self.without]
        return [(p[0], p[1]) for p in sorted(kept, key=distance)]
