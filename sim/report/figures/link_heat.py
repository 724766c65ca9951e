"""The busiest links over time."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.utilisation import LinkUse
from sim.record.run_folder import RunFolder
from sim.report.style import USE, layout, rounded

MOST_LINKS = 24
MOST_BINS = 400


class LinkHeat:
    """Utilisation of the busiest links in every bin of time."""

    title: ClassVar[str] = "Busiest links over time"
    section: ClassVar[str] = "Network"
    note: ClassVar[str] = (
        "Share of a link's capacity that was used, by time, on a scale up to the largest; the "
        "busiest link of the run is on top. KV transfers only, as above."
    )

    def draw(self, run: RunFolder) -> Any:
        """A heat map, or None when no link carried anything."""
        import plotly.graph_objects as go

        use = LinkUse.read(run)
        busiest = use.busiest(MOST_LINKS)
        if len(busiest) == 0:
            return None
        time_s, values = _grid(use, busiest)
        figure = go.Figure(
            go.Heatmap(
                x=rounded(time_s), y=[use.names[i] for i in busiest], z=rounded(100.0 * values),
                zmin=0.0, zmax=max(100.0 * float(values.max()), 1.0),
                colorscale=[list(c) for c in USE],
                colorbar={"title": {"text": "use (%)"}, "thickness": 12, "outlinewidth": 0},
                hovertemplate="%{y} at %{x:.4g} s: %{z:.3g} %<extra></extra>",
            )
        )  # fmt: skip
        figure.update_xaxes(title_text="simulated time (s)")
        figure.update_yaxes(autorange="reversed")
        return layout(figure, 130 + 20 * len(busiest), margin={"l": 200})


def _grid(use: LinkUse, links: Any) -> tuple[Any, Any]:
    """Start of each bin, and utilisation of shape (links, bins); bins are merged to at most 400."""
    last = round(float(use.time_s.max()) / use.bin_s) if use.bin_s > 0 else 0
    step = last // MOST_BINS + 1
    bins = last // step + 1
    place = np.full(len(use.names), -1, dtype=np.int64)
    place[links] = np.arange(len(links))
    mine = place[use.link] >= 0
    which = np.rint(use.time_s[mine] / (use.bin_s or 1.0)).astype(np.int64) // step
    flat = place[use.link[mine]] * bins + which
    total = np.bincount(flat, weights=use.utilisation[mine], minlength=len(links) * bins)
    return np.arange(bins) * step * use.bin_s, total.reshape(len(links), bins) / step
