"""Whatever is wrong is told in one sentence that names the setting, the value and the way out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from desk import Desk

from sim.cli.failures import sentence

SET = [
    ("nope=1", "'nope' is not a setting; known: admission,"),
    ("until=3", "'until' is not a setting; did you mean 'until_s'?"),
    ("pools.serve.engin={}", "'pools.serve.engin' is not a setting; did you mean 'engine'?"),
    (
        "pools.serve.engine.max_num_seq=3",
        "'pools.serve.engine.max_num_seq' is not a setting; did you mean 'max_num_seqs'?",
    ),
    (
        "pools.serve.max_num_seqs=3",
        "'pools.serve.max_num_seqs' is not a setting; did you mean 'pools.NAME.engine.max_num_seqs",
    ),
    (
        "deployment.aggregated.routr=random",
        "'deployment.aggregated.routr' is not a setting; did you mean 'router'?",
    ),
    (
        "deployment.aggregated.router=least_loadedd",
        "'deployment.aggregated.router' = 'least_loadedd' is not one of the routers; "
        "did you mean 'least_loaded'?",
    ),
    (
        "deployment.agregated.router=random",
        "'deployment' has no 'agregated' among the deployments; did you mean 'aggregated'?",
    ),
    (
        "workload.arrivals={poisson: {rate_pr_s: 3}}",
        "'workload.arrivals.poisson.rate_pr_s' is not a setting; did you mean 'rate_per_s'?",
    ),
    ("slo={ttft_s: 5 GB}", "'slo.ttft_s' = '5 GB' has the unit 'GB', which is no unit of time"),
    ("slo.ttft_s=-5 ms", "'slo.ttft_s' is '-5 ms'; it must be more than 0"),
    ("pools.serve.engines=0", "'pools.serve.engines' is 0; it must be at least 1"),
    ("pools.serve.engines=two", "'pools.serve.engines' is 'two'; it must be a whole number"),
    ("pools.serve.engines=2.5", "'pools.serve.engines' is 2.5; it must be a whole number"),
    ("pools.serve.engine.block_size=-16", "block_size' is -16; it must be at least 1"),
    ("pools.serve.engine.gpu_memory_utilization=1.5", "is 1.5; it must be at most 1"),
    ("leap=maybe", "'leap' is 'maybe'; it must be true or false"),
    ("model=5", "'model' is 5; it must be text"),
    ("seed=", "'seed' is empty; it must be a whole number"),
    ("pools.serve=3", "'pools.serve' is 3; it must be a mapping of settings"),
    ("pools={}", "'pools' is empty; it must be a mapping with at least 1 entry"),
    ("workload.arrivals.poisson={}", "rate_per_s' is missing; write it (Requests per second"),
    ("workload.requests=0", "'workload.requests' is 0; it must be at least 1"),
    ("workload.requests=", "'workload': requests is needed without a trace"),
    ("workload.time_scale=2", "'workload': time_scale 2.0 has no effect without a path"),
    ("measure.window=stedy", "window 'stedy' is unknown; write all or steady"),
    ("measure.window={steady: {fro_share: 0}}", "did you mean 'from_share'?"),
    (
        "deployment={disaggregated: {stream: true}}",
        "'deployment.disaggregated': stream needs a decode engine while the prompt is computed; "
        "write pair_at: arrival",
    ),
    ("pools.serve.speculation=eagl", "is not one of the drafts; did you mean 'eagle'?"),
    ("pools.serve.speculation=eagle", "'pools.serve.speculation.eagle.acceptance' is missing"),
    (
        "pools.serve.speculation={mtp: {acceptance: {iid: 0.8}}}",
        "pools.serve: mtp: llama-3.1-8b comes without multi-token-prediction layers; write eagle",
    ),
    (
        "pools.serve.speculation={eagle: {acceptance: {iid: 1.5}}}",
        "is 1.5; it must be at most 1",
    ),
    (
        "pools.serve={engine: {max_num_batched_tokens: 64, max_num_seqs: 32}, "
        "speculation: {eagle: {acceptance: {iid: 0.8}}}}",
        "max_num_batched_tokens: 64 is below the 128 tokens of max_num_seqs 32 sequences with 4",
    ),
    (
        "pools.serve.draft_length=quickest",
        "pools.serve: draft_length: quickest has no effect without speculation; leave it out",
    ),
    (
        "pools.serve={speculation: {eagle: {acceptance: {iid: 0.8}}}, "
        "draft_length: {by_batch: {lengths: {8: 5}}}}",
        "by_batch.lengths asks for 5 drafts and the draft has 3; write fewer",
    ),
    (
        "pools.serve={engines: 8, speculation: {draft_model: {model: llama-3.1-8b, apart: true, "
        "acceptance: {iid: 0.8}}}}",
        "8 (serve) + 8 (serve's draft) = 16 h100 GPUs are asked for",
    ),
    ("deployment={disaggregated: {pair_at: arival}}", "must be 'arrival' or 'prefill_end'; did"),
    (
        "deployment=disaggregated",
        "pools: the deployment needs a pool 'prefill', and the pools are serve",
    ),
    ("admission=limit", "'admission.limit.requests' is missing"),
    ("pools.serve.layout={tensor: {tp: 3}}", "tp=3 does not divide the 32 query heads"),
    ("pools.serve.layout={tensor: {tp: 2, ep: 2}}", "ep=2 but llama-3.1-8b has no experts"),
    ("pools.serve.layout={dp_attention: {dp: 2}}", "llama-3.1-8b has none; use the tensor layout"),
    (
        "pools.serve.engines=9",
        "9 (serve) = 9 h100 GPUs are asked for and topology 'dgx_h100' has 8",
    ),
    ("model=llama-3.1-70b", "77.3 GB usable (85.9 GB × 0.9) − 141 GB weights"),
    ("model=llama-3-8b", "did you mean 'llama-3.1-8b'?"),
    ("topology=dgx_h10", "topology 'dgx_h10' is not known; did you mean 'dgx_h100'?"),
    ("topology.nodes=0", "'topology.nodes' is 0; it must be at least 1"),
    ("pools.serve.gpu=b200", "pools.serve.gpu: topology 'dgx_h100' has no b200; it has h100"),
    (
        "pools.serve.engine.max_num_batched_tokens=4",
        "pools.serve: engine: max_num_batched_tokens 4 is below max_num_seqs 8",
    ),
    ("pools.serve.engine.max_model_len=200000", "200000 is longer than the 131072 tokens"),
    ("pools.serve.engines", "is not of the form path.to.setting=value"),
    ("a..b=3", "is not of the form path.to.setting=value"),
    ("model.size=8b", "'model' is 'llama-3.1-8b', which has no settings below it"),
    ("pools.serve.engines.x=1", "'pools.serve.engines' is 1, which has no settings below it"),
    ("deployment.disaggregated.stream=true", "'deployment' is 'aggregated' in the scenario"),
    ("slo={ttft_s: 1", "--set 'slo={ttft_s: 1', line 1, column"),
]


@pytest.mark.parametrize("change, says", SET, ids=lambda v: str(v)[:40])
def test_a_wrong_setting_is_named_with_its_value_and_the_way_out(
    desk: Desk, change: str, says: str
) -> None:
    assert says in desk.mistake("run", desk.file, "--set", change)
    assert not (desk.folder / "runs").exists() or not list((desk.folder / "runs").iterdir())


def test_check_tells_the_same_mistakes_as_run(desk: Desk) -> None:
    change = ("--set", "pools.serve.engines=9")
    assert desk.mistake("check", desk.file, *change) == desk.mistake("run", desk.file, *change)


def test_a_pool_that_the_deployment_does_not_use_is_refused(desk: Desk) -> None:
    desk.write(pools={"prefill": {}, "decode": {}, "spare": {}}, deployment={"disaggregated": {}})
    assert "pools: 'spare' is not used by the deployment" in desk.mistake("run", desk.file)


@pytest.mark.parametrize("name", ["workload", "model", "topology", "pools"])
def test_a_missing_part_is_named(desk: Desk, name: str) -> None:
    desk.write(**{name: None})
    assert f"'{name}' is missing; write it (" in desk.mistake("run", desk.file)


def test_a_syntax_error_is_told_with_its_line(desk: Desk) -> None:
    desk.file.write_text("name: x\nmodel: [a\npools: {}\n")
    assert "line 3, column" in desk.mistake("run", desk.file)


def test_a_key_that_stands_twice_is_refused(desk: Desk) -> None:
    desk.file.write_text(desk.file.read_text() + "name: other\n")
    assert "'name' is written twice; keep one of them" in desk.mistake("run", desk.file)


@pytest.mark.parametrize("text", ["", "- a\n", "5\n"])
def test_a_file_that_is_no_mapping_is_refused(desk: Desk, text: str) -> None:
    desk.file.write_text(text)
    assert "must be a mapping with workload, model" in desk.mistake("run", desk.file)


def test_a_scenario_that_is_not_there_is_looked_for_nearby(desk: Desk) -> None:
    assert "is not there; did you mean 'small.yaml'?" in desk.mistake("run", "smal.yaml")
    assert "in '.' there are small.yaml" in desk.mistake("run", "other")
    (desk.folder / "studies").mkdir()
    assert "did you mean 'studies/small.yaml'?" in desk.mistake("run", "studie/small.yaml")
    assert "is a folder; name a file; 'studies' has no .yaml" in desk.mistake("run", "studies")


def test_a_scenario_that_is_not_text_is_refused(desk: Desk) -> None:
    desk.file.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read: it is not text" in desk.mistake("run", desk.file)


HEAD = "arrival_s,prompt_tokens,output_tokens\n"
TRACES = [
    ("", "is empty; a trace has at least one request"),
    (HEAD, "trace.csv"),
    (HEAD + "0.0,10,5\n1.0,10", "line 3"),
    (HEAD + "1.0,10,5\n0.5,10,5\n", "line 3, column arrival_s: 0.5"),
    (HEAD + "-1.0,10,5\n", "line 2, column arrival_s: -1"),
    (HEAD + "0.0,0,5\n", "line 2, column prompt_tokens: 0"),
    (HEAD + "0.0,ten,5\n", "line 2, column prompt_tokens"),
    ("a,b\n1,2\n", "is of no known format: it begins with 'a,b'"),
]


@pytest.mark.parametrize("text, says", TRACES)
def test_a_damaged_trace_is_told_with_line_and_column(desk: Desk, text: str, says: str) -> None:
    (desk.folder / "trace.csv").write_text(text)
    desk.write(workload={"path": "trace.csv"})
    assert says in desk.mistake("run", desk.file)
    assert not list((desk.folder / "runs").iterdir())


def test_a_trace_that_is_not_there_is_told_with_the_places_that_were_tried(desk: Desk) -> None:
    desk.write(workload={"path": "trace.csv"})
    assert "there is no file trace.csv from the current directory" in desk.mistake("run", desk.file)


def test_a_mistake_in_the_trace_leaves_an_earlier_run_as_it_was(desk: Desk) -> None:
    assert desk.sim("run", desk.file, "--out", "mine", "--no-report").code == 0
    before = (desk.folder / "mine" / "summary.json").read_text()
    desk.write(workload={"path": "trace.csv"})
    desk.mistake("run", desk.file, "--out", "mine")
    assert (desk.folder / "mine" / "summary.json").read_text() == before


@pytest.mark.parametrize("text", ["5 GB", "soon", "0", "-3 s"])
def test_until_must_be_a_time_after_the_start(desk: Desk, text: str) -> None:
    assert desk.mistake("run", desk.file, f"--until={text}").startswith("--until")


def test_a_folder_that_cannot_be_written_is_refused(desk: Desk) -> None:
    (desk.folder / "file").write_text("")
    assert "the run folder 'file/x' cannot be written" in desk.mistake(
        "run", desk.file, "--out", "file/x"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(desk: Desk) -> None:
    (desk.folder / "locked").mkdir(mode=0o500)
    assert "cannot be written" in desk.mistake("run", desk.file, "--out", "locked/x")


def test_a_folder_that_holds_something_else_is_not_touched(desk: Desk) -> None:
    mine = desk.folder / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("words")
    assert "holds files that are no run ('thesis.tex')" in desk.mistake(
        "run", desk.file, "--out", mine
    )
    assert [p.name for p in mine.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("command", ["report", "trace", "explain"])
def test_a_folder_that_is_no_run_is_refused(desk: Desk, command: str) -> None:
    more = ("--request", 0) if command == "explain" else ()
    assert "is not a run folder (it has no run.json)" in desk.mistake(command, "nowhere", *more)


def test_a_request_that_is_not_there_is_refused_with_the_range(desk: Desk) -> None:
    desk.sim("run", desk.file, "--out", "mine", "--no-report")
    told = desk.mistake("explain", "mine", "--request", 99)
    assert told == "there is no request 99; this run has requests 0 to 11"


@pytest.mark.parametrize("option", ["--out", "--csv"])
def test_a_report_that_cannot_be_written_is_refused(desk: Desk, option: str) -> None:
    desk.sim("run", desk.file, "--out", "mine", "--no-report")
    (desk.folder / "file").write_text("")
    told = desk.sim("report", "mine", option, "file/x").err
    assert "cannot be written" in told


def test_an_unknown_kind_is_refused_with_those_there_are(desk: Desk) -> None:
    assert "did you mean 'routers'?" in desk.mistake("list", "router")


def test_sim_debug_shows_the_traceback_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM_DEBUG", "1")
    said = desk.sim("run", desk.file, "--set", "nope=1")
    assert said.code == 2
    assert "Traceback" in said.err
    assert "error: scenario" in said.err


def test_a_broken_invariant_asks_for_a_report_with_the_run_folder(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sim import api
    from sim.errors import BrokenInvariant

    def broken(*_: object) -> None:
        raise BrokenInvariant("request 3 ended twice at 1.5 s")

    monkeypatch.setattr(api, "simulate", broken)
    said = desk.sim("run", desk.file)
    assert said.code == 70
    assert "request 3 ended twice at 1.5 s; please report it with the run folder" in said.err
    assert Path("runs/small-001/scenario.yaml").is_file()


@pytest.mark.parametrize(
    "error, says",
    [
        (KeyError("x"), "the simulator failed, a bug: KeyError: 'x'; please report it with the"),
        (MemoryError("8 TB"), "there is not enough memory (8 TB); ask for fewer requests"),
        (OSError(28, "No space left on device", "a/b"), "'a/b' cannot be used (No space left"),
        (KeyboardInterrupt(), "stopped by Ctrl-C; nothing was kept"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_nobody_expected_is_one_sentence_too(error: BaseException, says: str) -> None:
    assert sentence(error).startswith(says)


def test_prefix_blocks_must_be_whole_kv_blocks(desk: Desk) -> None:
    """A trace names runs of 512 tokens; 24 does not divide them. An earlier run stays as it was."""
    out, trace = desk.folder / "kept", Path(__file__).parents[2] / "traces/sample_mooncake.jsonl"
    assert desk.sim("run", desk.file, "--out", out, "--no-report").code == 0
    before = (out / "run.json").read_bytes()
    sets = ("--set", f"workload={{path: {trace}}}", "--set", "pools.serve.engine.block_size=24")
    says = desk.mistake("run", desk.file, *sets, "--out", out)
    assert "pools.serve.engine.block_size: 24 does not divide the 512 tokens" in says
    assert (out / "run.json").read_bytes() == before
    off = ("--set", "pools.serve.engine.enable_prefix_caching=false")
    assert desk.sim("run", desk.file, *sets, *off, "--out", out, "--no-report").code == 0
