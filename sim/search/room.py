"""What fits on the fullest GPU of a pool, and how many sequences a rank can run."""

from __future__ import annotations

from dataclasses import dataclass

from sim.errors import ScenarioError
from sim.plugins import name_of
from sim.scenario.pools import PoolPlan
from sim.units import human_bytes


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes per GPU of one pool, and sequences per rank."""

    gpu_bytes: float
    weight_bytes: float
    activation_bytes: float
    reserve_bytes: float
    kv_bytes: float
    """The KV pool."""
    sequence_bytes: float
    """KV of a sequence at its full length."""
    kv_sequences: int
    """Sequences of mean length that the KV pool holds: over time, those that run have every age."""
    max_num_seqs: int
    whole_tokens: int
    """Full length of a sequence."""
    held_tokens: int
    """Length at which `kv_sequences` are counted."""

    @property
    def places(self) -> int:
        """Sequences that may run at once on a rank."""
        return min(self.kv_sequences, self.max_num_seqs)

    def used_bytes(self, sequences: float) -> float:
        """In use with so many sequences on a rank, all at full length, at most the pool."""
        kv = min(sequences * self.sequence_bytes, self.kv_bytes)
        return self.weight_bytes + self.activation_bytes + self.reserve_bytes + kv


def room(pool: PoolPlan, prompt_tokens: int, output_tokens: int, ahead_tokens: int = 0) -> Room:
    """For sequences that come with `prompt_tokens` and leave with `output_tokens` more, and that
    have room for `ahead_tokens` drafts. Raises ScenarioError, with the arithmetic, when not one of
    them can be served."""
    whole = prompt_tokens + output_tokens
    if whole > pool.context_tokens:
        raise ScenarioError(
            f"{prompt_tokens:,} + {output_tokens:,} tokens are longer than the context of "
            f"{pool.context_tokens:,} tokens in pool '{pool.name}'; write shorter --isl and --osl"
        )
    memory, engine = pool.memory, pool.settings.engine
    most = _units(pool, whole + ahead_tokens)
    if most > memory.units:
        raise ScenarioError(
            f"a sequence of {whole:,} tokens needs {human_bytes(most * memory.unit_bytes)} of KV "
            f"cache per GPU and pool '{pool.name}' has {human_bytes(memory.kv_bytes)} left; use "
            "more GPUs per engine, a smaller --kv or shorter lengths"
        )
    held = prompt_tokens + output_tokens // 2 + ahead_tokens
    if name_of(engine.preemption) == "none":
        held = pool.context_tokens  # reserved on admission: no length is declared
    return Room(
        gpu_bytes=memory.gpu_bytes,
        weight_bytes=memory.weight_bytes,
        activation_bytes=memory.activation_bytes,
        reserve_bytes=memory.reserve_bytes,
        kv_bytes=memory.kv_bytes,
        sequence_bytes=most * memory.unit_bytes,
        kv_sequences=max(1, memory.units // _units(pool, held)),
        max_num_seqs=engine.max_num_seqs,
        whole_tokens=whole,
        held_tokens=held,
    )


def _units(pool: PoolPlan, tokens: int) -> int:
    """KV units of a sequence, as `engine/rank.py` counts them."""
    block = pool.settings.engine.block_size
    return sum(
        -(-min(tokens, g.cap_tokens or tokens) // block) * g.units for g in pool.memory.groups
    )
