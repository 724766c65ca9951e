"""What must hold of the tables of every run, whatever was simulated. Each check is independent of
the product's own: it adds up rows and compares them with what was asked."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers import Run

SECONDS = (
    "linear_s", "attention_s", "experts_s", "collective_s", "host_s", "rank_wait_s", "pipeline_s",
    "contention_s",
)  # fmt: skip


def everybody_is_accounted_for(run: Run, arrived: int | None = None) -> None:
    """One row a request, in an end state, and with all its tokens when it finished."""
    r = run.requests
    assert r["request"].is_unique
    if arrived is not None:
        assert len(r) == arrived
    finished = r[r["state"] == "finished"]
    assert (finished["generated_tokens"] == finished["output_tokens"]).all()
    assert (r["generated_tokens"] <= r["output_tokens"]).all()
    assert finished["first_token_s"].notna().all()


def tokens_are_conserved(run: Run) -> None:
    """A finished request's tokens are those of its decoding stays plus one for every prompt that
    was computed to its end; chunks cover each prompt without hole or overlap."""
    r, stays, chunks = run.requests, run.table("intervals"), run.table("chunks")
    done = r[r["state"] == "finished"].set_index("request")
    decoded = stays[stays["stage"] == "decode"].groupby("request")["tokens"].sum()
    ends = stays["closed"].isin(["decoding", "handed_off", "finished"])
    sampled = stays[(stays["stage"] != "decode") & ends].groupby("request").size()
    for number, row in done.iterrows():
        made = decoded.get(number, 0) + sampled.get(number, 0)
        assert made == row["output_tokens"], (number, decoded.get(number), sampled.get(number))
    prompt_stays = stays[stays["stage"] != "decode"]
    per_stay = prompt_stays.groupby("request")["tokens"].sum()
    lost = r.loc[~r["state"].isin(["finished", "rejected"]), "request"]
    for number, tokens in chunks.groupby("request")["tokens"].sum().items():
        if number not in set(lost):
            assert tokens == per_stay[number]
    first = prompt_stays[prompt_stays["stage"] == "prefill"].set_index("request")
    whole = first[first["closed"].isin(["decoding", "handed_off", "finished"])]
    asked = r.set_index("request")["prompt_tokens"]
    assert (whole["tokens"] + whole["cached_tokens"] == asked[whole.index]).all()


def recomputed_tokens_are_those_computed_twice(run: Run) -> None:
    """`recomputed_tokens` counts positions whose KV was computed before and is computed again."""
    chunks, stays = run.table("chunks"), run.table("intervals")
    clock = run.table("clock").set_index(["engine", "slot", "step"])["end_s"]
    for _, row in run.requests.iterrows():
        if row["state"] != "finished":
            continue
        mine = chunks[chunks["request"] == row["request"]]
        work = [
            (clock[c.engine, c.slot, c.step], c.offset, c.offset + c.tokens)
            for c in mine.itertuples()
        ]
        generated = 0
        for s in stays[stays["request"] == row["request"]].sort_values("leave_s").itertuples():
            if s.stage == "decode" and s.tokens:
                at = row["prompt_tokens"] + generated - 1
                work.append((s.leave_s - 1e-12, at, at + s.tokens))
                generated += s.tokens
            elif s.stage != "decode" and s.closed not in ("preempted", "withdrawn"):
                generated += 1
        reach = again = 0
        for _, low, high in sorted(work):
            again += max(0, min(high, reach) - low)
            reach = max(reach, high)
        assert row["recomputed_tokens"] == again, row["request"]


def times_are_in_order(run: Run) -> None:
    """Nothing ends before it begins, and nobody gets a token before a step computed for him."""
    r = run.requests
    for earlier, later in (
        ("arrival_s", "first_step_s"),
        ("first_step_s", "first_token_s"),
        ("first_token_s", "end_s"),
        ("arrival_s", "end_s"),
    ):
        assert not (r[later] < r[earlier]).any(), (earlier, later)
    stays = run.table("intervals")
    assert (stays["leave_s"] >= stays["enter_s"]).all()
    t = run.table("transfers")
    assert (t["reserved_s"] >= t["asked_s"]).all()
    assert (t["start_s"] >= t["reserved_s"]).all()
    assert (t["end_s"] >= t["start_s"] + t["alone_s"] * (1 - 1e-9) - 1e-9).all() or len(t) == 0
    assert (t["end_s"] >= t["ready_s"]).all()


def steps_cover_the_clock(run: Run) -> None:
    """The runs of a slot follow each other, meet its clock step by step, and do not overlap; the
    seconds of a row sum to its duration."""
    steps, clock = run.table("steps"), run.table("clock")
    keys = ["engine", "slot"]
    clocks = {k: g.sort_values("step") for k, g in clock.groupby(keys)}
    assert set(clocks) == set(steps.groupby(keys).groups)
    for key, rows in steps.groupby(keys):
        ends = clocks[key]["end_s"].to_numpy()
        assert (clocks[key]["step"].to_numpy() == np.arange(len(ends))).all()
        assert (np.diff(ends) >= 0).all()
        for rank, mine in rows.groupby("rank"):
            mine = mine.sort_values("first_step")
            first, n = mine["first_step"].to_numpy(), mine["n"].to_numpy()
            assert (n >= 1).all()
            assert (first == np.concatenate([[0], np.cumsum(n)[:-1]])).all(), (key, rank)
            assert first[-1] + n[-1] == len(ends)
            assert (mine["end_s"].to_numpy() == ends[first + n - 1]).all()
            starts = mine["start_s"].to_numpy()
            assert (starts[1:] >= mine["end_s"].to_numpy()[:-1]).all()
            gaps = np.concatenate([[0.0], starts[1:] - mine["end_s"].to_numpy()[:-1]])
            assert (mine["gap_s"].to_numpy() == gaps).all()
    _seconds_sum_to_durations(steps)


def _seconds_sum_to_durations(steps: pd.DataFrame) -> None:
    seconds = [*SECONDS, *(["draft_s"] if "draft_s" in steps else [])]
    total = sum(steps[c] for c in seconds)
    duration = steps["end_s"] - steps["start_s"]
    wrong = (total - duration).abs() > 1e-9 + 1e-12 * steps["end_s"]
    assert not wrong.any(), steps[wrong].T.to_string()
    for c in seconds:
        assert (steps[c] >= -1e-12).all(), c


def stays_match_the_steps(run: Run) -> None:
    """Seats taken in the steps are seats filled by stays: Σ over steps of n · decodes is Σ of
    the tokens of decoding stays, and likewise for prompts."""
    steps, stays, chunks = run.table("steps"), run.table("intervals"), run.table("chunks")
    decoded = stays[stays["stage"] == "decode"]
    ran = decoded["last_step"] - decoded["first_step"] + 1
    accepted = steps["accepted"].sum() if "accepted" in steps else 0
    assert (steps["n"] * steps["decodes"]).sum() + accepted == decoded["tokens"].sum()
    if "accepted" in steps:
        assert (ran <= decoded["tokens"]).all()
        assert (decoded["tokens"] <= ran * (1 + steps["draft_tokens"].max())).all()
        _bursts_are_those_of_the_stays(run, decoded)
    else:
        assert (ran == decoded["tokens"]).all()
    assert (steps["n"] * steps["prefill_tokens"]).sum() == chunks["tokens"].sum()
    for (engine, slot, step), mine in chunks.groupby(["engine", "slot", "step"]):
        at = (steps["engine"] == engine) & (steps["slot"] == slot) & (steps["first_step"] == step)
        rows = steps[at]
        assert rows["prefills"].sum() == len(mine)
        assert rows["prefill_tokens"].sum() == mine["tokens"].sum()


def _bursts_are_those_of_the_stays(run: Run, decoded: pd.DataFrame) -> None:
    """Every verify step has as many sequences as stays that hold it, and gives each of them one
    token or more."""
    bursts, steps = run.table("bursts"), run.table("steps")
    assert (bursts["tokens"] >= bursts["sequences"]).all()
    keys = ["engine", "slot", "rank"]
    held = dict(list(decoded.groupby(keys)))
    plain = set(decoded["engine"]) - set(bursts["engine"])
    assert bursts["tokens"].sum() == decoded.loc[~decoded["engine"].isin(plain), "tokens"].sum()
    for key, rows in bursts.groupby(keys):
        count = np.zeros(len(rows) + 1, dtype=int)
        for stay in held.get(key, decoded[:0]).itertuples():
            count[stay.first_step] += 1
            count[stay.last_step + 1] -= 1
        assert (rows["sequences"].to_numpy() == np.cumsum(count)[:-1]).all(), key
        mine = steps[(steps[keys] == list(key)).all(axis=1)].sort_values("first_step")
        drawn = np.concatenate([[0], np.cumsum(rows["tokens"] - rows["sequences"])])
        gained = drawn[mine["first_step"] + mine["n"]] - drawn[mine["first_step"]]
        assert (gained == mine["accepted"]).all(), key


def no_rank_holds_more_than_its_pool(run: Run) -> None:
    """Used and cached blocks never exceed the pool."""
    steps = run.table("steps")
    capacity = {e.number: e.ranks[0].cache.capacity for e in run.engines}
    held = steps["used_blocks"] + steps["cached_blocks"]
    assert (held <= steps["engine"].map(capacity)).all()
    assert (steps["used_blocks"] >= 0).all()


def all_holds(run: Run, arrived: int | None = None) -> None:
    """Everything above but the count of recomputed tokens."""
    everybody_is_accounted_for(run, arrived)
    tokens_are_conserved(run)
    times_are_in_order(run)
    steps_cover_the_clock(run)
    stays_match_the_steps(run)
    no_rank_holds_more_than_its_pool(run)
