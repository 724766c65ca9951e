"""What prices from layer tables lean on, and where they go beyond what was measured."""

from __future__ import annotations

from sim.perf.layer_tables import LayerTables
from sim.perf.task import PriceTask

Row = dict[str, str]


def reach_rows(task: PriceTask, tables: LayerTables) -> list[Row]:
    """One row for the tables, one for the gaps that they do not have, one per range exceeded."""
    rows = tables.attention
    made = [
        {
            "what": f"layers of {task.model.name} on {task.gpu.name}",
            "value": f"tp = {tables.tp}",
            "source": f"measured: {tables.folder}",
        },
        {
            "what": "time between kernels",
            "value": "0 s",
            "source": "assumed: CUDA graphs; the tables have the kernels alone",
        },
    ]
    tokens = min(float(c.at[-1]) for c in tables.dense.values())
    heads = min(float(c.at[-1]) for c in tables.heads.values())
    context = max(float(rows.context.max()), float(rows.cached.max()))
    reached = {
        "tokens of a step": (tokens, task.max_rank_tokens),
        "sequences of a step": (heads, task.max_sampled),
        "prompt tokens of attention": (float(rows.chunk.max()), task.max_rank_tokens),
        "decodes of attention": (float(rows.decodes.max()), task.max_sampled),
        "context": (context, task.model.max_context_tokens),
    }
    beside = rows.decodes[(rows.chunk > 0) & (rows.decodes > 0)]
    if not len(beside):
        source = "assumed: the sum of both, as the table has no row with both"
        made.append({"what": "attention of decodes beside a prompt", "value": "", "source": source})
    else:
        reached["decodes beside a prompt"] = (float(beside.max()), task.max_sampled)
    for what, (measured, most) in reached.items():
        if most > measured:
            source = f"extrapolated: measured up to {measured:.0f}, continued as a straight line"
            made.append({"what": what, "value": f"up to {most}", "source": source})
    return made
