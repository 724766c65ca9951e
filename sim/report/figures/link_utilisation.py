"""The machine as a graph, its links coloured by how much they carried."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.utilisation import LinkUse
from sim.record.run_folder import RunFolder
from sim.report.style import INK, USE, layout, rounded, scatter_class, some
from sim.units import human_bytes

SHADES = 12
MOST_LINKS = 6_000


class LinkUtilisation:
    """Mean utilisation of every link, drawn on the topology."""

    title: ClassVar[str] = "Links of the machine"
    section: ClassVar[str] = "Network"
    note: ClassVar[str] = (
        "Colour is the mean utilisation of a link over the run, on a scale up to the busiest "
        "link's (red), which may be little: see the scale. The two directions of a cable lie side "
        "by side; point at the middle of a link for its figures. KV transfers only: collectives "
        "inside an engine are priced in its step time and not drawn."
    )

    def draw(self, run: RunFolder) -> Any:
        """The graph, or None when no link carried anything or nodes have no places."""
        import plotly.graph_objects as go

        use = LinkUse.read(run)
        if not use.nbytes.any():
            return None
        topology = run.read_json("topology.json") if run.has("topology.json") else {}
        nodes = {str(n["name"]): n for n in topology.get("nodes", []) if "x" in n and "y" in n}
        links = sorted(topology.get("links", []), key=lambda link: int(link["index"]))
        drawn = [i for i, k in enumerate(links) if {str(k["src"]), str(k["dst"])} <= nodes.keys()]
        if not drawn:
            return None
        drawn = [drawn[i] for i in _kept(use.mean[drawn])]
        ends = np.array([_ends(nodes, links[i]) for i in drawn])
        top = max(float(use.mean[drawn].max()), 1e-4)
        figure = go.Figure()
        _segments(figure, ends, use.mean[drawn] / top)
        _middles(figure, ends, use, drawn, top)
        _nodes(figure, list(nodes.values()))
        for axis in (figure.update_xaxes, figure.update_yaxes):
            axis(visible=False)
        across = ends[:, [0, 2]]
        figure.update_xaxes(range=[float(across.min()) - 0.5, float(across.max()) + 0.5])
        return layout(figure, 460, showlegend=False, margin={"t": 16, "b": 16, "l": 16})


def _kept(mean: Any) -> list[int]:
    """Positions of the links to draw: all, or the busiest and an even choice of the rest."""
    if len(mean) <= MOST_LINKS:
        return list(range(len(mean)))
    busy = np.argsort(-mean, kind="stable")[: MOST_LINKS // 2]
    return sorted({*busy.tolist(), *some(len(mean), MOST_LINKS // 2).tolist()})


def _ends(nodes: dict[str, Any], link: dict[str, Any]) -> tuple[float, float, float, float]:
    """x and y of both ends, moved a little to the link's right-hand side."""
    a, b = nodes[str(link["src"])], nodes[str(link["dst"])]
    dx, dy = b["x"] - a["x"], b["y"] - a["y"]
    length = float(np.hypot(dx, dy)) or 1.0
    ox, oy = 0.035 * dy / length, -0.035 * dx / length
    return a["x"] + ox, a["y"] + oy, b["x"] + ox, b["y"] + oy


def _colour(share: float) -> str:
    """Colour of a share of the scale `USE`."""
    from plotly.colors import sample_colorscale

    return str(sample_colorscale([list(c) for c in USE], [min(share, 1.0)])[0])


def _segments(figure: Any, ends: Any, share: Any) -> None:
    """Lines, one trace per shade, the busiest on top."""
    trace = scatter_class(len(ends))
    shade = np.minimum((share * SHADES).astype(np.int64), SHADES - 1)
    for s in range(SHADES):
        mine = ends[shade == s]
        if len(mine) == 0:
            continue
        gap = np.full(len(mine), np.nan)
        x = np.stack([mine[:, 0], mine[:, 2], gap], axis=1).ravel()
        y = np.stack([mine[:, 1], mine[:, 3], gap], axis=1).ravel()
        width = 1.0 + 3.0 * s / SHADES
        line = {"color": _colour((s + 0.5) / SHADES), "width": width}
        figure.add_trace(
            trace(x=rounded(x), y=rounded(y), mode="lines", line=line, hoverinfo="skip")
        )


def _middles(figure: Any, ends: Any, use: LinkUse, drawn: list[int], top: float) -> None:
    """A dot a third of the way along each link that tells its figures, and the colour scale."""
    text = [_told(use, i) for i in drawn]
    figure.add_trace(
        scatter_class(len(ends))(
            x=rounded(ends[:, 0] * 0.6 + ends[:, 2] * 0.4),
            y=rounded(ends[:, 1] * 0.6 + ends[:, 3] * 0.4),
            mode="markers", text=text, hovertemplate="%{text}<extra></extra>",
            marker={
                "size": 5, "color": rounded(100.0 * use.mean[drawn]), "cmin": 0.0,
                "cmax": 100.0 * top, "colorscale": [list(c) for c in USE],
                "colorbar": {"title": {"text": "mean use (%)"}, "thickness": 12,
                             "outlinewidth": 0},
            },
        )
    )  # fmt: skip


def _told(use: LinkUse, link: int) -> str:
    """The figures of a link."""
    carried = human_bytes(float(use.nbytes[link]))
    speed = human_bytes(float(use.capacity_bytes_per_s[link]))
    return (
        f"{use.names[link]} ({use.kinds[link]}, {speed}/s)<br>{carried}: mean use "
        f"{use.mean[link]:.2%}, peak {use.peak[link]:.2%}"
    )


def _short(name: str) -> str:
    """The last word of a node's name, or all of it when that is only a number."""
    last = name.rsplit(".", 1)[-1]
    return name if last.isdigit() else last


def _nodes(figure: Any, nodes: list[dict[str, Any]]) -> None:
    few = len(nodes) <= 80
    figure.add_trace(
        scatter_class(len(nodes))(
            x=rounded([n["x"] for n in nodes]), y=rounded([n["y"] for n in nodes]),
            mode="markers+text" if few else "markers",
            text=[_short(str(n["name"])) for n in nodes] if few else None,
            textposition="bottom center", textfont={"size": 9, "color": INK},
            customdata=[f"{n['name']} ({n.get('kind', '')})" for n in nodes],
            hovertemplate="%{customdata}<extra></extra>",
            marker={"size": 11 if few else 5, "symbol": "square", "color": "#ffffff",
                    "line": {"color": INK, "width": 1.2}},
        )
    )  # fmt: skip
