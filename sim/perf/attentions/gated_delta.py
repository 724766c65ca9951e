"""Gated DeltaNet (arXiv 2412.06464), the linear attention of Qwen3-Next: a key × value state per
value head, read and written by every decode step."""

from __future__ import annotations

from sim.catalog.attention import GatedDeltaAttention
from sim.catalog.counting import attention_matrices, conv_state_bytes, recurrent_state_bytes
from sim.perf.attentions import AttentionWork, Kept, recurrent_work
from sim.perf.attentions.grouped import ACTIVATION_BYTES


class GatedDelta:
    """A recurrent mixer; value heads are divided over devices."""

    def matrices(
        self, attention: GatedDeltaAttention, hidden: int, tp: int
    ) -> dict[str, tuple[int, int]]:
        """`in` and `gates` are cut by outputs, `out` by inputs."""
        whole = attention_matrices(attention, hidden)
        cut = {k: (i, -(-o // tp)) for k, (i, o) in whole.items() if k != "out"}
        inner, out = whole["out"]
        return cut | {"out": (inner // tp, out)}

    def work(
        self, attention: GatedDeltaAttention, tp: int, kv_bytes: float
    ) -> tuple[AttentionWork, ...]:
        """The state read and written in decode; per prompt token 8 operations per state number
        (the chunked form: products within chunks, the delta correction, to the state, from it)."""
        a = attention
        values = a.value_heads * a.value_dim
        state = recurrent_state_bytes(a) + conv_state_bytes(a)
        activations = (a.conv_channels + 2 * values) * ACTIVATION_BYTES
        flops = 8.0 * values * a.key_dim
        return (recurrent_work(a, tp, 2.0 * state + activations, flops),)

    def kept(self, attention: GatedDeltaAttention, tp: int, kv_bytes: float) -> tuple[Kept, ...]:
        """The state and the last inputs of the convolution."""
        state = recurrent_state_bytes(attention) + conv_state_bytes(attention)
        return (Kept(0.0, None, bytes_per_sequence=state / tp),)
