"""The tables of a run: every column with its type, unit and meaning. One contract for all.

The simulation appends rows; measuring and reporting read them.
"""

from __future__ import annotations

from dataclasses import dataclass

NONE = -1
"""What an integer column holds where there is nothing to name (no decode engine, no slot)."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `dtype` is `int64`, `float64` or `code`; a code is an index into `labels`."""

    name: str
    dtype: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A named list of columns. The first `logged` of them are appended by the simulation; the rest
    are added from those, vectorised, when a group of rows is written."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    derived: tuple[Column, ...] = ()

    @property
    def all_columns(self) -> tuple[Column, ...]:
        return self.columns + self.derived

    def index(self, column: str) -> int:
        """Position of a logged column in a row."""
        return next(i for i, c in enumerate(self.columns) if c.name == column)


def _int(name: str, meaning: str) -> Column:
    return Column(name, "int64", meaning)


def _num(name: str, meaning: str) -> Column:
    return Column(name, "float64", meaning)


STATES = ("finished", "rejected", "failed", "unfinished", "cancelled")
REASONS = ("", "context", "kv_pool", "admission", "fault", "client")
STAGES = ("prefill", "decode", "recompute")
CLOSED = (
    "finished", "handed_off", "decoding", "preempted", "failed", "unfinished", "withdrawn",
)  # fmt: skip
ENGINE_STATES = ("running", "paused", "stopped")
TRANSFER_KINDS = ("handoff",)

REQUESTS = Table(
    "requests",
    "one row per request that arrived",
    (
        _int("request", "number in arrival order, from 0"),
        _num("arrival_s", "when the client sent it"),
        _int("prompt_tokens", "length of the prompt"),
        _int("output_tokens", "tokens that the client would get in full"),
        _int("generated_tokens", "tokens made until the end of the run"),
        Column("state", "code", "how it ended", STATES),
        Column("reason", "code", "why it was rejected, failed or cancelled", REASONS),
        _num("first_step_s", "start of the first step that computed for it; NaN if none"),
        _num("first_token_s", "when its first token was visible to the client; NaN if none"),
        _num("end_s", "last token, rejection, failure, cancellation, or the end of the run"),
        _int("cached_tokens", "prompt tokens taken from cache at the first admission"),
        _int("recomputed_tokens", "tokens computed again after preemption"),
        _int("preemptions", "times it was sent back to wait"),
        _int("prefill_engine", "engine of its first stay; -1 if none"),
        _int("decode_engine", "engine that made its last token; -1 if none"),
    ),
)

INTERVALS = Table(
    "intervals",
    "one row per stay of a request in an engine, by stage; its token times are a slice of `clock`",
    (
        _int("request", "request"),
        _int("engine", "engine"),
        _int("rank", "attention data-parallel rank in the engine"),
        _int("slot", "slot (pass in flight); for a prefill, the slot of its last chunk"),
        Column("stage", "code", "what was done in this stay", STAGES),
        _num("enter_s", "when it joined the engine's waiting line, or this stage began"),
        _int("first_step", "first step of the slot's clock in which it took part"),
        _int("last_step", "last such step (inclusive); < first_step when it never ran"),
        _int("tokens", "prompt tokens computed (prefill, recompute) or tokens generated (decode)"),
        _int("cached_tokens", "tokens taken from the prefix cache on entering"),
        Column("closed", "code", "why the stay ended", CLOSED),
        _num("leave_s", "when it ended"),
    ),
)

CHUNKS = Table(
    "chunks",
    "one row per share of a step that was given to a prompt",
    (
        _int("request", "request"),
        _int("engine", "engine"),
        _int("rank", "rank"),
        _int("slot", "slot"),
        _int("step", "step of the slot's clock"),
        _int("tokens", "prompt tokens computed in it"),
        _int("offset", "tokens of this sequence that were in the KV cache before"),
    ),
)

STEPS = Table(
    "steps",
    "one row per rank and run of steps with the same members; seconds are sums over the run",
    (
        _int("engine", "engine"),
        _int("rank", "rank; all ranks of an engine step together"),
        _int("slot", "slot"),
        _int("first_step", "number of the run's first step on the slot's clock"),
        _num("start_s", "start of the first step"),
        _num("gap_s", "time on the slot's clock between the last run's end and this one's start"),
        _num("prefill_gap_s", "part of gap_s in which the engine ran prefill-only passes"),
        _int("prefill_tokens", "prompt tokens per step (a run with any has n = 1)"),
        _int("prefill_pairs", "query-key pairs of the chunks: Σ t·o + t(t+1)/2"),
        _int("prefill_kv_tokens", "keys that the chunks read: Σ (o + t)"),
        _int("prefills", "chunks in the step"),
        _int("decodes", "sequences that decode, each one token per step"),
        _int("context_tokens", "Σ context that the decodes attend to, in the first step"),
        _int("capped_1", "Σ min(context, first cap of the model) in the first step; 0 if none"),
        _int("capped_2", "the same for the second cap"),
        _int("below_1", "decodes whose context is below the first cap (capped_1 grows by it)"),
        _int("below_2", "the same for the second cap"),
        _int("capped_pairs_1", "prefill_pairs with keys limited to the first cap"),
        _int("capped_pairs_2", "the same for the second cap"),
        _int("sampled", "tokens sampled per step (decodes and finished prompts)"),
        _int("used_blocks", "KV blocks held by sequences in the run's first step"),
        _int("cached_blocks", "KV blocks held by the prefix cache alone"),
        _int("waiting", "sequences in the waiting line when the run began"),
        _int("n", "steps in the run"),
        _num("end_s", "end of the last step"),
        _num("pipeline_s", "seconds in which passes waited between stages"),
        _num("contention_s", "seconds added by sharing links or by a slow-down"),
    ),
    (
        _num("linear_s", "weight matrices outside the experts, norms, head"),
        _num("attention_s", "reading and scoring the KV cache"),
        _num("experts_s", "routed and shared experts"),
        _num("collective_s", "all-reduce, all-to-all, point-to-point between stages"),
        _num("host_s", "launches, scheduler, sampling"),
        _num("rank_wait_s", "waiting for the slowest rank"),
        _num("decode_alone_s", "the same steps without their prefill part"),
        _num("decode_alone_collective_s", "collective seconds of those"),
    ),
)

SPECULATIVE_STEPS = Table(
    "steps",
    "steps of a run in which engines speculate: the columns of all runs and those of drafts; there "
    "a decode is a verify step, which may give several tokens",
    STEPS.columns,
    (
        *STEPS.derived,
        _num("draft_s", "drafting passes"),
        _num("decode_alone_draft_s", "drafting passes of the same steps without their prefill"),
        _num("plain_s", "what the decodes of these steps would take without speculation"),
        _int("draft_tokens", "drafts per sequence and step; 0 = plain decoding"),
        _int("drafts", "drafts of all sequences and steps together"),
        _int("accepted", "of them accepted, as far as the sequences still wanted tokens"),
    ),
)

CLOCK = Table(
    "clock",
    "end of every step, by slot; the times of all tokens are slices of it",
    (
        _int("engine", "engine"),
        _int("slot", "slot"),
        _int("step", "step number"),
        _num("end_s", "end of the step"),
    ),
)

BURSTS = Table(
    "bursts",
    "tokens that decoding sequences got at the end of a step, of engines that speculate; all that "
    "a sequence gets at one step are visible at once",
    (
        _int("engine", "engine"),
        _int("slot", "slot"),
        _int("step", "step number"),
        _int("rank", "rank"),
        _int("sequences", "sequences that decode"),
        _int("tokens", "tokens that they got together"),
    ),
)

TRANSFERS = Table(
    "transfers",
    "one row per movement of bytes between engines",
    (
        _int("transfer", "number in order of request"),
        _int("request", "request whose KV it is"),
        Column("kind", "code", "what is moved", TRANSFER_KINDS),
        _int("src_engine", "from"),
        _int("dst_engine", "to"),
        _num("bytes", "payload over all links of the bundle"),
        _num("asked_s", "when it asked for room at the destination"),
        _num("reserved_s", "when the destination had reserved its blocks"),
        _num("start_s", "when the first byte was sent"),
        _num("ready_s", "when the source had all the bytes (later than start when streamed)"),
        _num("end_s", "when the last byte arrived"),
        _num("alone_s", "what the part after max(start, ready) takes without other traffic"),
        _num("bottleneck_bytes_per_s", "rate that the route gives a bundle alone"),
    ),
)

LINKS = Table(
    "links",
    "bytes per link and bin of time; names and capacities are in topology.json",
    (
        _int("link", "link, an index into topology.json's `links`"),
        _num("bin_s", "start of the bin"),
        _num("bytes", "bytes that crossed the link in the bin"),
        _num("busy_s", "seconds of the bin in which anything crossed it"),
    ),
)

ENGINES = Table(
    "engines",
    "state changes of engines, and new versions of their weights",
    (
        _int("engine", "engine; pool, GPUs and layout are in run.json"),
        _num("time_s", "when"),
        Column("state", "code", "state from then on", ENGINE_STATES),
        _int("version", "version of the weights from then on; 0 at the start"),
    ),
)

SAMPLE_STATES = ("trained", "filtered", "stale", "aborted", "in_flight")
ACTORS = ("rollout", "reward", "trainer", "weight_sync")
PHASES = (
    "generation", "reward", "wait", "prepare", "reshard", "logprob", "reference", "train",
    "checkpoint", "recovery", "sync",
)  # fmt: skip

RL_STEPS = Table(
    "rl_steps",
    "one row per step of a reinforcement-learning loop: from the end of the step before to the end "
    "of its own weight sync; phases of the trainer do not overlap, and with `wait_s` fill it",
    (
        _int("step", "number, from 0"),
        _int("version", "policy version that the step trained, which makes version + 1"),
        _num("start_s", "end of the step before"),
        _num("end_s", "when its new weights are in use, or the trainer goes on"),
        _num("generation_s", "first submission to last token of the samples trained on"),
        _num("exposed_generation_s", "part of it in which the trainer waited for tokens"),
        _num("exposed_reward_s", "time in which the trainer waited for rewards alone"),
        _num("wait_s", "the trainer's waiting: for tokens, rewards and weights in flight"),
        _num("prepare_s", "loading data and preparing the batch"),
        _num("reshard_s", "moving weights between training and generation layouts"),
        _num("logprob_s", "log-probabilities under the policy"),
        _num("reference_s", "log-probabilities under the reference"),
        _num("train_s", "forward, backward and optimiser"),
        _num("checkpoint_s", "stalls for checkpoints"),
        _num("recovery_s", "failures: detection, repair and lost work"),
        _num("sync_s", "weight sync as far as the trainer waits for it"),
        _int("samples", "samples trained on"),
        _int("prompts", "groups trained on"),
        _int("prompt_tokens", "of those samples"),
        _int("response_tokens", "of those samples"),
        _int("longest_tokens", "longest response among them"),
        _num("staleness", "mean over their response tokens of version − version that made it"),
        _int("staleness_max", "the largest of those"),
        _num("bubble", "idle part of the trainer's busiest stage while it trains"),
        _num("mfu", "model FLOP/s ÷ peak while it trains"),
        _num("sync_bytes", "bytes of weights that crossed the fabric"),
        _int("filtered", "samples dropped by the filter since the step before"),
        _int("stale", "samples dropped for their age since the step before"),
        _int("aborted", "samples given up since the step before"),
        _int("in_flight", "samples begun and not yet trained or dropped at the end"),
    ),
)

RL_PHASES = Table(
    "rl_phases",
    "who did what when in a reinforcement-learning loop; phases of one actor do not overlap",
    (
        Column("actor", "code", "who", ACTORS),
        Column("phase", "code", "what", PHASES),
        _int("step", "step that it was for"),
        _num("start_s", "begin"),
        _num("end_s", "end"),
    ),
)

SAMPLES = Table(
    "samples",
    "one row per sample of a reinforcement-learning loop that was begun",
    (
        _int("sample", "number in order of submission, from 0"),
        _int("prompt", "number of its prompt (its group), from 0"),
        _int("index", "its place in the group, from 0"),
        _int("request", "its last request; -1 if it never got one"),
        _int("turns", "requests that it was made of"),
        _int("prompt_tokens", "of its first turn"),
        _int("response_tokens", "generated, tools' answers not counted"),
        _num("submitted_s", "when it was asked for"),
        _num("generated_s", "last token; NaN if none"),
        _num("scored_s", "when its reward was known; NaN if never"),
        _num("tools_s", "time in tools or environments, waiting for them included"),
        _num("tools_wait_s", "of it, in line for a worker"),
        _num("reward_s", "time in scoring, waiting for it included; 0 if never scored"),
        _num("reward_wait_s", "of it, in line for a worker or an engine"),
        Column("state", "code", "what became of it", SAMPLE_STATES),
        _int("step", "step that (last) trained on it; -1 if none"),
        _int("uses", "times it was trained on"),
        _int("first_version", "policy version of its first token"),
        _int("last_version", "policy version of its last token"),
        _num("staleness", "mean over its tokens of trained version − version; NaN if not trained"),
        _int("staleness_max", "the largest; -1 if not trained"),
        _int("interruptions", "weight updates and moves in the middle of it"),
    ),
)

RL_TABLES = (RL_STEPS, RL_PHASES, SAMPLES)
"""Written by runs with an `rl:` block alone."""

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        REQUESTS, INTERVALS, CHUNKS, STEPS, CLOCK, BURSTS, TRANSFERS, LINKS, ENGINES, *RL_TABLES
    )
}  # fmt: skip
