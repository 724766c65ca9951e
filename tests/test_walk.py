"""Start here: one request, by hand, to the microsecond.

The step times are given (a constant timer), so that every time below can be added up on paper.
"""

from __future__ import annotations

import pytest
from helpers import Ask, play_asks, steady

MICROSECOND = 1e-6


def test_one_request_in_one_engine() -> None:
    """A request comes at 0.5 s with a prompt of 100 tokens and wants 4 tokens. A step takes 10 ms
    plus 1 ms for each token in it, and at most 64 prompt tokens fit into one.

    step 0   64 prompt tokens   10 + 64 = 74 ms   0.500 → 0.574
    step 1   36 prompt tokens   10 + 36 = 46 ms   0.574 → 0.620   the prompt is done: token 1
    step 2    1 token           10 +  1 = 11 ms   0.620 → 0.631   token 2
    step 3    1 token                     11 ms   0.631 → 0.642   token 3
    step 4    1 token                     11 ms   0.642 → 0.653   token 4: the end
    """
    engine = {"max_num_batched_tokens": 64, "max_num_seqs": 8}
    run = play_asks(
        [Ask(arrival_s=0.5, prompt=100, output=4)],
        pools={"serve": {"timer": steady(0.010, 0.001), "engine": engine}},
    )

    ends = run.table("clock")["end_s"].tolist()
    assert ends == pytest.approx([0.574, 0.620, 0.631, 0.642, 0.653], abs=MICROSECOND)

    (request,) = run.requests.to_dict("records")
    assert request["state"] == "finished"
    assert request["first_step_s"] == 0.5
    assert request["first_token_s"] == pytest.approx(0.620, abs=MICROSECOND)
    assert request["end_s"] == pytest.approx(0.653, abs=MICROSECOND)
    assert request["generated_tokens"] == 4

    chunks = run.table("chunks")[["step", "offset", "tokens"]].values.tolist()
    assert chunks == [[0, 0, 64], [1, 64, 36]]
    stays = run.table("intervals")
    assert stays["stage"].tolist() == ["prefill", "decode"]
    assert stays["closed"].tolist() == ["decoding", "finished"]
    assert stays["tokens"].tolist() == [100, 3]
    assert stays["first_step"].tolist() == [0, 2]
    assert stays["last_step"].tolist() == [1, 4]


def test_one_request_whose_prompt_is_computed_in_one_engine_and_answered_in_another() -> None:
    """The same request; prompts are computed on one GPU and answered on another, and the first
    token is shown when the KV cache has arrived.

    Llama 3.1 8B keeps 2 · 8 heads · 128 numbers of 2 bytes in each of 32 layers: 131,072 bytes a
    token. The GPUs hang on one ideal switch with 450 GB/s each way and no latency to speak of, so
    the KV of 100 tokens takes 13,107,200 / 450e9 = 29.127 µs.

    prefill  step 0   74 ms     0.500 → 0.574
             step 1   46 ms     0.574 → 0.620      token 1 is made
    fabric            29.127 µs 0.620 → 0.620029   token 1 is shown, the source is freed
    decode   step 0   11 ms     0.620029 → 0.631029
             step 1   11 ms              → 0.642029
             step 2   11 ms              → 0.653029
    """
    engine = {"max_num_batched_tokens": 64, "max_num_seqs": 8}
    pool = {"timer": steady(0.010, 0.001), "engine": engine}
    run = play_asks(
        [Ask(arrival_s=0.5, prompt=100, output=4)],
        topology={"name": "single_gpu", "nodes": 2},
        pools={"prefill": pool, "decode": pool},
        deployment={"disaggregated": {"first_token": "decode"}},
    )
    link = run.plan.topology.links[0]
    sent_s = 100 * 131_072 / 450e9 + 2 * link.latency_s
    assert sent_s == pytest.approx(29.127e-6, abs=MICROSECOND)

    (transfer,) = run.table("transfers").to_dict("records")
    assert transfer["bytes"] == 13_107_200
    assert transfer["asked_s"] == transfer["start_s"] == pytest.approx(0.620, abs=1e-9)
    assert transfer["end_s"] == pytest.approx(0.620 + sent_s, abs=1e-9)

    (request,) = run.requests.to_dict("records")
    assert request["first_token_s"] == transfer["end_s"]
    assert request["end_s"] == pytest.approx(0.653 + sent_s, abs=1e-9)
    assert (request["prefill_engine"], request["decode_engine"]) == (0, 1)

    clock = run.table("clock")
    decode = clock[clock["engine"] == 1]["end_s"].tolist()
    assert decode == pytest.approx([t + sent_s for t in (0.631, 0.642, 0.653)], abs=1e-9)
    stays = run.table("intervals").sort_values("enter_s")
    assert stays["closed"].tolist() == ["handed_off", "finished"]
