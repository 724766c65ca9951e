"""What verify steps must have given, worked out request by request from the draws alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers import Run
from sim.perf.speculation.acceptance import CHUNK, Tree, latent_runs, tree_survival
from sim.rng import Draws


def drawn(run: Run, law: Any, tree: Tree, request: int, steps: int) -> NDArray[np.int64]:
    """Tokens of the first verify steps of a request."""
    survived = tree_survival(law, tree)
    draws = Draws(run.plan.scenario.settings.seed, "acceptance")
    chunks = [latent_runs(survived, draws, request, c) for c in range(steps // CHUNK + 1)]
    return np.concatenate(chunks)[:steps] + 1


def every_stay_gave_what_was_drawn(run: Run, law: Any, tree: Tree) -> None:
    """A request's verify steps give what its own draws say, in order, whatever happened in between:
    preemption, handoff, other members; the last is cut to the request's end."""
    stays = run.table("intervals")
    decoding = stays[stays["stage"] == "decode"].sort_values(["request", "leave_s"])
    requests = run.requests.set_index("request")
    for request, mine in decoding.groupby("request"):
        ran = (mine["last_step"] - mine["first_step"] + 1).to_numpy()
        given = drawn(run, law, tree, int(request), int(ran.sum()))
        ends = np.cumsum(ran)
        for i, (end, tokens) in enumerate(zip(ends, mine["tokens"], strict=True)):
            expected = int(given[end - ran[i] : end].sum())
            finished = mine["closed"].iloc[i] == "finished"
            assert tokens <= expected if finished else tokens == expected, (request, i)
            if finished:
                assert tokens > expected - given[end - 1]
        assert mine["tokens"].sum() <= requests.loc[request, "output_tokens"]
