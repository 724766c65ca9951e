"""Played runs against what theory says of speculation: tokens per step, when it pays, and what a
request draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Run, generated, play, serving, steady

from sim.perf.acceptances.by_position import ByPosition
from sim.perf.acceptances.iid import Iid
from sim.perf.speculation.acceptance import (
    Tree,
    acceptance_length,
    distribution,
    iid_length,
    tree_survival,
)

AT_ONCE = {"closed_loop": {"concurrency": 1}}


def speculating(
    draft: dict[str, Any],
    requests: int = 40,
    output: int = 800,
    arrivals: Any = None,
    prompt: int = 1,
    pool: dict[str, Any] | None = None,
    **changes: Any,
) -> Run:
    engine = {"max_num_seqs": 32}
    mine = {"timer": steady(0.01), "speculation": draft, "engine": engine}
    pools = {"serve": mine | (pool or {})}
    workload = generated(requests, prompt, output, arrivals or AT_ONCE)
    return play(serving(workload, pools=pools, **changes))


def eagle(acceptance: Any, drafts: Any = 3, **more: Any) -> dict[str, Any]:
    return {"eagle": {"acceptance": acceptance, "draft_tokens": drafts} | more}


def tokens_per_step(run: Run) -> np.ndarray:
    """Of verify steps of one sequence, without each request's last, which its end may cut."""
    b, stays = run.table("bursts"), run.table("intervals")
    last = stays.loc[stays["stage"] == "decode", "last_step"]
    alone = b[(b["sequences"] == 1) & ~b["step"].isin(last)]
    return alone["tokens"].to_numpy()


def agrees(drawn: np.ndarray, survived: np.ndarray) -> None:
    """Shares of every count, and the mean, within four standard errors."""
    chances = distribution(survived)
    shares = np.bincount(drawn - 1, minlength=len(chances)) / len(drawn)
    error = np.sqrt(chances * (1 - chances) / len(drawn))
    assert (np.abs(shares - chances) <= 4 * error).all(), (shares, chances)
    spread = np.sqrt(chances @ np.arange(len(chances)) ** 2 - (survived.sum()) ** 2)
    assert abs(drawn.mean() - acceptance_length(survived)) <= 4 * spread / np.sqrt(len(drawn))


@pytest.mark.parametrize(("rate", "drafts"), [(0.6, 1), (0.75, 3), (0.9, 5), (0.8, 8)])
def test_a_played_chain_gives_the_tokens_of_the_closed_form(rate: float, drafts: int) -> None:
    drawn = tokens_per_step(speculating(eagle({"iid": rate}, drafts)))
    survived = tree_survival(Iid(rate=rate), Tree.chain(drafts))
    assert acceptance_length(survived) == pytest.approx(iid_length(rate, drafts))
    agrees(drawn, survived)


def test_a_played_tree_gives_the_tokens_of_its_survival() -> None:
    tree = Tree(3, 2, 6)
    law = {"by_position": [0.8, 0.6, 0.5]}
    drawn = tokens_per_step(speculating(eagle(law, 3, topk=2, verify_tokens=6)))
    agrees(drawn, tree_survival(ByPosition(at=(0.8, 0.6, 0.5)), tree))


def test_a_sure_draft_gives_all_its_tokens_and_a_hopeless_one_none() -> None:
    for rate, tokens in ((1.0, 4), (0.0, 1)):
        run = speculating(eagle({"iid": rate}), requests=1, output=401)
        bursts = run.table("bursts")
        given = bursts.loc[bursts["sequences"] > 0, "tokens"]
        assert given.tolist() == [tokens] * (400 // tokens)


def test_requests_of_two_kinds_draw_from_two_laws() -> None:
    law = {"by_class": [
        {"share": 3, "acceptance": {"iid": 0.9}}, {"share": 1, "acceptance": {"iid": 0.2}},
    ]}  # fmt: skip
    run = speculating(eagle(law, 3), requests=200, output=200)
    stays = run.table("intervals")
    mine = stays[stays["stage"] == "decode"]
    each = mine["tokens"] / (mine["last_step"] - mine["first_step"] + 1)
    good = each > 2.2
    assert abs(good.mean() - 0.75) <= 4 * np.sqrt(0.75 * 0.25 / 200)
    assert each[good].mean() == pytest.approx(iid_length(0.9, 3), rel=0.03)
    assert each[~good].mean() == pytest.approx(iid_length(0.2, 3), rel=0.03)


def test_a_draft_that_lags_is_accepted_less_until_it_is_fitted_again() -> None:
    """Five versions behind at 0.95 each; fitted every fifth, it is as new."""

    def length(refit: int | None) -> float:
        law = {"drift": {"of": {"iid": 0.8}, "per_version": 0.95, "floor": 0.1,
                         "refit_every": refit}}  # fmt: skip

        def meddle(built: Any) -> None:
            for engine in built.pools[0].engines:
                engine.levers.set_draft_lag(5)

        pools = {"serve": {"timer": steady(0.01), "speculation": eagle(law)}}
        tree = serving(generated(40, 1, 800, AT_ONCE), pools=pools)
        return float(tokens_per_step(play(tree, meddle=meddle)).mean())

    assert length(None) == pytest.approx(iid_length(0.8 * 0.95**5, 3), rel=0.02)
    assert length(5) == pytest.approx(iid_length(0.8, 3), rel=0.02)


def test_whoever_routes_a_request_it_draws_the_same() -> None:
    def given(router: str) -> list[int]:
        run = speculating(
            eagle({"iid": 0.7}),
            requests=60,
            output=100,
            arrivals={"poisson": {"rate_per_s": 20.0}},
            pool={"engines": 3},
            topology={"name": "single_gpu", "nodes": 3},
            deployment={"aggregated": {"router": router}},
        )
        stays = run.table("intervals")
        mine = stays[stays["stage"] == "decode"].sort_values("request")
        return (mine["last_step"] - mine["first_step"] + 1).tolist()

    assert given("random") == given("round_robin") == given("least_loaded")


def batch_gain(
    concurrency: int, draft: dict[str, Any] | None, model: str = "llama-3.1-8b"
) -> float:
    """Output tokens/s of a closed loop."""
    engine = {"max_num_seqs": 512, "max_num_batched_tokens": 4096}
    pool: dict[str, Any] = {"engine": engine, "timer": "roofline"}
    pool |= {"speculation": draft} if draft else {}
    arrivals = {"closed_loop": {"concurrency": concurrency}}
    workload = generated(3 * concurrency, 16, 200, arrivals)
    run = play(serving(workload, pools={"serve": pool}, model=model))
    return float(run.requests["generated_tokens"].sum() / run.requests["end_s"].max())


def test_the_gain_falls_with_the_batch_and_turns_into_a_loss() -> None:
    """Reading weights is paid once a step, arithmetic for every token that is verified."""
    draft = eagle({"iid": 0.5}, 5)
    gains = [batch_gain(n, draft) / batch_gain(n, None) for n in (1, 64, 384)]
    assert gains[0] > gains[1] > gains[2]
    assert gains[0] > 1.3
    assert gains[2] < 1.0


def test_the_quickest_length_is_never_slower_than_plain_decoding_or_a_fixed_length() -> None:
    for n in (1, 384):
        auto = batch_gain(n, eagle({"iid": 0.5}, "auto"))
        assert auto >= 0.98 * batch_gain(n, None)
        assert auto >= 0.98 * batch_gain(n, eagle({"iid": 0.5}, 5))
