"""Kernels at figures fitted to measured tables, and where no table is, at those of the nearest GPU.

For every kind of kernel the figures are looked for in this order: this GPU (in the wanted format
under the engine asked for, then under another; then in the next best format), a GPU of the same
architecture, a GPU of the nearest one, the surface's own defaults.
Of equally near ones, those of one's own folders come before the packaged.
Figures are relative to data sheets, so those of another GPU are scaled to this one's peaks.
Whatever is not the first is an extrapolation and is listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path
from typing import Any

from sim.catalog.gpu import Gpu, gpu_names, load_gpu
from sim.perf.calibration import (
    FOLDER,
    Calibration,
    Fitted,
    calibration_folders,
    calibration_names,
    load_calibration,
)
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
    folder: str = ""
    """The folder of one's own that the figures are from; empty for the packaged ones."""

    @property
    def source(self) -> str:
        """In words, beginning with `assumed:` when nothing was measured."""
        if self.fitted is None:
            return "assumed: default figures of the surface, nothing measured"
        own = f", in '{self.folder}'" if self.folder else ""
        return f"fitted to {self.engine} on {self.gpu} ({self.variant}){own}"


@dataclass(slots=True)
class Shelf:
    """The calibrations in the order in which one GPU under one engine looks into them."""

    gpu: Gpu
    engines: tuple[str, ...]
    """The engine asked for, then those whose kernels are the next best guess."""
    without: frozenset[str] = frozenset()
    """GPUs whose calibrations are not used (to see how a GPU without tables is predicted)."""
    folders: tuple[Path, ...] = field(default_factory=calibration_folders)
    """Where calibrations are: of equally near GPUs, the earlier folders first."""
    _found: dict[tuple[str, tuple[str, ...]], Found] = field(default_factory=dict)

    def find(self, kind: str, *variants: str) -> Found:
        """The first surface of a kind in any of `variants`, the earlier ones first."""
        key = (kind, variants)
        if key not in self._found:
            self._found[key] = self._look(kind, variants)
        return self._found[key]

    def _look(self, kind: str, variants: tuple[str, ...]) -> Found:
        by_gpu = groupby(self._calibrations(), key=lambda found: found[0].gpu)
        for _, calibrations in by_gpu:
            mine = list(calibrations)
            for variant, (calibration, folder) in product(variants, mine):
                fitted = calibration.find(kind, variant)
                if fitted is not None:
                    place = (calibration.gpu, calibration.engine, variant)
                    own = "" if folder == FOLDER else str(folder)
                    return Found(fitted.surface, *place, fitted, own)
        cls = load("sim.perf.surfaces", kind)
        return Found(cls(), self.gpu.name, "none", variants[0], None)

    def variants(self, kind: str) -> tuple[str, ...]:
        """Variants of a kind in the first calibration that has any."""
        for calibration, _ in self._calibrations():
            if calibration.surfaces.get(kind):
                return tuple(calibration.surfaces[kind])
        return ()

    def _calibrations(self) -> Iterator[tuple[Calibration, Path]]:
        """Calibrations with their folders, from the nearest to the farthest; read when asked."""
        for gpu, engine, folder in self._places():
            calibration = load_calibration(gpu, engine, folder=folder)
            if calibration is not None:
                yield calibration, folder

    def _places(self) -> list[tuple[str, str, Path]]:
        """(GPU, engine, folder) from the nearest to the farthest. GPUs of one's own that the
        catalog does not have are near to nothing but themselves."""
        order = NEAREST.get(self.gpu.architecture, NEAREST["hopper"])
        ranked = []
        for first, folder in enumerate(self.folders):
            for gpu, engine in (name.split("/") for name in calibration_names(folder)):
                if gpu in self.without or (gpu != self.gpu.name and gpu not in gpu_names()):
                    continue
                other = self.gpu if gpu == self.gpu.name else load_gpu(gpu)
                kind = other.architecture
                near = order.index(kind) if kind in order else len(order)
                rank = self.engines.index(engine) if engine in self.engines else len(self.engines)
                bandwidth = abs(other.hbm_bytes_per_s / self.gpu.hbm_bytes_per_s - 1.0)
                key = (gpu != self.gpu.name, near, first, rank, bandwidth, gpu + engine)
                ranked.append((key, (gpu, engine, folder)))
        return [place for _, place in sorted(ranked)]
