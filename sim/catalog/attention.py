"""The kinds of token mixing that a layer may have: attention, latent, sparse, recurrent, none.

All share three attributes that code of other rooms may read without knowing the kind: `q_heads`
(what tensor parallelism divides; 0 = nothing), `window_tokens` (most tokens whose KV is kept; None
= all) and `attended_tokens` (most tokens that one query attends to; None = all that are kept).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GroupedAttention:
    """Multi-head, grouped-query or multi-query attention (MHA: kv_heads = q_heads)."""

    q_heads: int
    kv_heads: int
    head_dim: int
    window_tokens: int | None = None
    """Sliding window: a token attends to at most this many; None = full."""
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: bool = False
    """RMS norm over each head of q and k (Qwen3)."""
    sinks: bool = False
    """One learned sink logit per head (gpt-oss)."""
    output_gate: bool = False
    """Queries come with a gate of the same width on the output (Qwen3-Next): q is twice as wide."""

    @property
    def attended_tokens(self) -> int | None:
        """Most tokens that one query attends to: the window."""
        return self.window_tokens


@dataclass(frozen=True, slots=True)
class BudgetedAttention(GroupedAttention):
    """Grouped attention of which a decode step sees a selection of its keys; prompts see all.

    A serving-time choice, not a trained one (block-sparse decoding, RocketKV): matrices and
    parameters are those of the grouped attention that it is.
    """

    budget_tokens: int = 0
    """Most K/V pairs that a decode step reads whole."""
    scan_fraction: float = 0.0
    """Bytes read per kept token to select them, over those of its K/V pair."""
    kept_fraction: float = 1.0
    """Bytes kept per token, summaries included, over those of its K/V pair."""

    @property
    def attended_tokens(self) -> int:
        """Most tokens that one decode step attends to."""
        return self.budget_tokens


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2): keys and values share one compressed latent."""

    q_heads: int
    q_lora: int | None
    """Rank of the query's compression; None = uncompressed queries."""
    kv_lora: int
    nope_dim: int
    """Per-head dimensions without position."""
    rope_dim: int
    """Dimensions with position, shared by all heads for keys."""
    v_dim: int
    window_tokens: None = None

    @property
    def attended_tokens(self) -> None:
        """Every kept token is attended to."""
        return None


@dataclass(frozen=True, slots=True)
class SparseLatentAttention:
    """DeepSeek sparse attention (DSA, DeepSeek-V3.2): an indexer picks what latent attention sees.

    Per layer and token the indexer keeps one key of `index_dim` numbers in FP8, scores all past
    tokens with `index_heads` heads, and the `index_topk` best are attended to. Tensor parallelism
    divides the latent's heads but not the indexer: every device scores every token
    (TensorRT-LLM blogs 15 and 21).
    """

    latent: LatentAttention
    index_heads: int
    index_dim: int
    index_topk: int
    window_tokens: None = None

    @property
    def q_heads(self) -> int:
        """Query heads of the latent attention."""
        return self.latent.q_heads

    @property
    def attended_tokens(self) -> int:
        """Most tokens that one query attends to: the indexer's choice. All are kept."""
        return self.index_topk


@dataclass(frozen=True, slots=True)
class StateSpaceAttention:
    """A Mamba-2 mixer (arXiv 2405.21060): a state of fixed size instead of a KV cache."""

    heads: int
    head_dim: int
    state: int
    """State dimension N; each head keeps head_dim × state numbers."""
    groups: int
    """Groups of heads that share B and C."""
    conv: int
    """Width of the causal convolution; as many inputs per channel are kept."""
    state_bytes: float = 4.0
    """Bytes per number of the state; FP32, as `mamba_ssm_cache_dtype` of Nemotron 3 says."""
    conv_bytes: float = 2.0
    """Bytes per number of the kept convolution inputs; activations are 16 bit."""
    window_tokens: None = None

    @property
    def q_heads(self) -> int:
        """What tensor parallelism divides: the state's heads."""
        return self.heads

    @property
    def attended_tokens(self) -> None:
        """No past token is read: the state stands for all."""
        return None

    @property
    def inner(self) -> int:
        """Width of the mixer: heads · head_dim."""
        return self.heads * self.head_dim

    @property
    def conv_channels(self) -> int:
        """Channels under the convolution: x, B and C, inner + 2 · groups · state."""
        return self.inner + 2 * self.groups * self.state


@dataclass(frozen=True, slots=True)
class GatedDeltaAttention:
    """Gated DeltaNet (arXiv 2412.06464), the linear attention of Qwen3-Next: a key_dim × value_dim
    state per value head instead of a KV cache."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv: int
    """Width of the causal convolution; as many inputs per channel are kept."""
    state_bytes: float = 4.0
    """Bytes per number of the state. assumed: FP32, as in the reference code of `transformers`."""
    conv_bytes: float = 2.0
    """Bytes per number of the kept convolution inputs; activations are 16 bit."""
    window_tokens: None = None

    @property
    def q_heads(self) -> int:
        """What tensor parallelism divides: the key heads (each with its value heads)."""
        return self.key_heads

    @property
    def attended_tokens(self) -> None:
        """No past token is read: the state stands for all."""
        return None

    @property
    def conv_channels(self) -> int:
        """Channels under the convolution: q, k and v."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim


@dataclass(frozen=True, slots=True)
class NoAttention:
    """No token mixing: a layer that is only a feed-forward. No matrices, no norm, no KV."""

    q_heads: int = 0
    window_tokens: None = None

    @property
    def attended_tokens(self) -> None:
        """Nothing is attended to, so nothing limits it."""
        return None


Attention = (
    GroupedAttention
    | BudgetedAttention
    | LatentAttention
    | SparseLatentAttention
    | StateSpaceAttention
    | GatedDeltaAttention
    | NoAttention
)
