"""Mamba-2 (arXiv 2405.21060): a state of fixed size per sequence instead of a KV cache.

A decode step reads and writes the state, whatever the context; a prompt updates it chunk by chunk
with 6 operations per state number and token (the structured state-space duality algorithm, section
6: products within chunks, to the state and from it, 2 operations each).
"""

from __future__ import annotations

from sim.catalog.attention import StateSpaceAttention
from sim.catalog.counting import attention_matrices, conv_state_bytes, recurrent_state_bytes
from sim.perf.attentions import AttentionWork, Kept, recurrent_work
from sim.perf.attentions.grouped import ACTIVATION_BYTES


class StateSpace:
    """A recurrent mixer; heads are divided over devices."""

    def matrices(
        self, attention: StateSpaceAttention, hidden: int, tp: int
    ) -> dict[str, tuple[int, int]]:
        """`in` is cut by outputs, `out` by inputs."""
        whole = attention_matrices(attention, hidden)
        (d, read), (inner, out) = whole["in"], whole["out"]
        return {"in": (d, -(-read // tp)), "out": (inner // tp, out)}

    def work(
        self, attention: StateSpaceAttention, tp: int, kv_bytes: float
    ) -> tuple[AttentionWork, ...]:
        """The state read and written in decode; 6 · inner · N operations per prompt token."""
        a = attention
        state = recurrent_state_bytes(a) + conv_state_bytes(a)
        activations = (a.conv_channels + 2 * a.inner) * ACTIVATION_BYTES
        flops = 6.0 * a.inner * a.state
        return (recurrent_work(a, tp, 2.0 * state + activations, flops),)

    def kept(self, attention: StateSpaceAttention, tp: int, kv_bytes: float) -> tuple[Kept, ...]:
        """The state and the last inputs of the convolution."""
        state = recurrent_state_bytes(attention) + conv_state_bytes(attention)
        return (Kept(0.0, None, bytes_per_sequence=state / tp),)
