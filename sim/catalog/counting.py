"""How many parameters and KV elements a model has: one home for each count.

Shapes are (in, out): a row of activations times the matrix. Dimensions: d = hidden, H = query
heads, G = KV heads, h = head_dim, w = width of a feed-forward, ℓ = width of a latent. Biases of
layer norms and learned positions (OPT, BLOOM) are not counted: below 0.2 % of those models.
"""

from __future__ import annotations

from sim.catalog.attention import (
    Attention,
    GatedDeltaAttention,
    GroupedAttention,
    LatentAttention,
    NoAttention,
    SparseLatentAttention,
    StateSpaceAttention,
)
from sim.catalog.ffn import DenseFfn, Ffn, MoeFfn, NoFfn
from sim.catalog.model import Layer, Model

Shape = tuple[int, int]

# --- attention ---------------------------------------------------------------------------------


def attention_matrices(attention: Attention, hidden: int) -> dict[str, Shape]:
    """The weight matrices of one attention, by name, as (in, out).

    Grouped: q (d, H·h), k and v (d, G·h), o (H·h, d); with an output gate q is (d, 2·H·h).
    Latent (DeepSeek-V2, arXiv 2405.04434): q_a (d, q_lora), q_b (q_lora, H·(nope + rope)), or one
    q (d, H·(nope + rope)) without query compression; kv_a (d, kv_lora + rope), kv_b
    (kv_lora, H·(nope + v)), o (H·v, d). Sparse latent adds the indexer (DeepSeek-V3.2's inference
    code): index_q (q_lora, heads·dim), index_k (d, dim), index_weights (d, heads).
    State space (Mamba-2): in (d, 2·inner + 2·groups·state + heads), out (inner, d).
    Gated delta (Qwen3-Next): in (d, q + k + v + z), gates (d, 2·value_heads), out.
    """
    match attention:
        case LatentAttention():
            return _latent_matrices(attention, hidden)
        case SparseLatentAttention():
            return _latent_matrices(attention.latent, hidden) | _index_matrices(attention, hidden)
        case StateSpaceAttention():
            read = attention.inner + attention.conv_channels + attention.heads
            return {"in": (hidden, read), "out": (attention.inner, hidden)}
        case GatedDeltaAttention():
            values = attention.value_heads * attention.value_dim
            return {
                "in": (hidden, attention.conv_channels + values),
                "gates": (hidden, 2 * attention.value_heads),
                "out": (values, hidden),
            }
        case NoAttention():
            return {}
    q = attention.q_heads * attention.head_dim
    kv = attention.kv_heads * attention.head_dim
    gated = 2 * q if attention.output_gate else q
    return {"q": (hidden, gated), "k": (hidden, kv), "v": (hidden, kv), "o": (q, hidden)}


def _latent_matrices(attention: LatentAttention, hidden: int) -> dict[str, Shape]:
    q = attention.q_heads * (attention.nope_dim + attention.rope_dim)
    kv = attention.q_heads * (attention.nope_dim + attention.v_dim)
    query: dict[str, Shape] = {"q": (hidden, q)}
    if attention.q_lora is not None:
        query = {"q_a": (hidden, attention.q_lora), "q_b": (attention.q_lora, q)}
    return query | {
        "kv_a": (hidden, attention.kv_lora + attention.rope_dim),
        "kv_b": (attention.kv_lora, kv),
        "o": (attention.q_heads * attention.v_dim, hidden),
    }


def _index_matrices(attention: SparseLatentAttention, hidden: int) -> dict[str, Shape]:
    return {
        "index_q": (
            attention.latent.q_lora or hidden,
            attention.index_heads * attention.index_dim,
        ),
        "index_k": (hidden, attention.index_dim),
        "index_weights": (hidden, attention.index_heads),
    }


def attention_params(attention: Attention, hidden: int) -> int:
    """Parameters of one attention: matrices and the vectors beside them.

    Grouped: biases (H·h + 2·G·h for q, k, v; d for o) + 2·h (norms of q and k) + H (sinks).
    Latent: q_lora + kv_lora (norms of the latents). Indexer: 2·dim (layer norm of its key).
    State space: the convolution (conv + 1 per channel), 3 per head (A, D, dt bias), the inner norm.
    Gated delta: the convolution (conv per channel), 2 per value head (A, dt bias), a head's norm.
    """
    matrices = sum(rows * cols for rows, cols in attention_matrices(attention, hidden).values())
    return matrices + _attention_vectors(attention, hidden)


def _attention_vectors(attention: Attention, hidden: int) -> int:
    match attention:
        case LatentAttention():
            return (attention.q_lora or 0) + attention.kv_lora
        case SparseLatentAttention():
            return _attention_vectors(attention.latent, hidden) + 2 * attention.index_dim
        case StateSpaceAttention():
            conv = attention.conv_channels * (attention.conv + 1)
            return conv + 3 * attention.heads + attention.inner
        case GatedDeltaAttention():
            conv = attention.conv_channels * attention.conv
            return conv + 2 * attention.value_heads + attention.value_dim
        case NoAttention():
            return 0
    qkv = (attention.q_heads + 2 * attention.kv_heads) * attention.head_dim
    return (
        (qkv if attention.qkv_bias else 0)
        + (hidden if attention.o_bias else 0)
        + (2 * attention.head_dim if attention.qk_norm else 0)
        + (attention.q_heads if attention.sinks else 0)
    )


# --- feed-forward ------------------------------------------------------------------------------


def mlp_matrices(hidden: int, width: int, gated: bool) -> dict[str, Shape]:
    """The matrices of one feed-forward or one expert, as (in, out).

    gate and up (d, w), down (w, d); ungated has no gate.
    """
    gate: dict[str, Shape] = {"gate": (hidden, width)} if gated else {}
    return gate | {"up": (hidden, width), "down": (width, hidden)}


def _mlp_params(hidden: int, width: int, gated: bool, bias: bool) -> int:
    shapes = mlp_matrices(hidden, width, gated).values()
    biases = sum(cols for _, cols in shapes) if bias else 0
    return sum(rows * cols for rows, cols in shapes) + biases


def expert_params(ffn: MoeFfn, hidden: int) -> int:
    """Parameters of one routed expert: 3·d·w (2·d·w ungated; ℓ for d in a latent), plus biases."""
    return _mlp_params(ffn.latent or hidden, ffn.width, ffn.gated, ffn.bias)


def latent_matrices(ffn: MoeFfn, hidden: int) -> dict[str, Shape]:
    """The shared projections around the experts' latent: down (d, ℓ) and up (ℓ, d); else none."""
    if ffn.latent is None:
        return {}
    return {"latent_down": (hidden, ffn.latent), "latent_up": (ffn.latent, hidden)}


def latent_params(ffn: MoeFfn, hidden: int) -> int:
    """Parameters of the projections around the experts' latent: 2·d·ℓ, or 0."""
    return sum(rows * cols for rows, cols in latent_matrices(ffn, hidden).values())


def shared_params(ffn: MoeFfn, hidden: int) -> int:
    """Parameters of all shared experts together: one feed-forward of their summed width, and d
    for the gate on it where there is one."""
    if ffn.shared_width == 0:
        return 0
    gate = hidden if ffn.shared_gate else 0
    return _mlp_params(hidden, ffn.shared_width, ffn.gated, ffn.bias) + gate


def router_params(ffn: MoeFfn, hidden: int) -> int:
    """Parameters of the router: d·experts, plus one per expert for a bias or a correction."""
    return (hidden + ffn.bias + ffn.router_bias) * ffn.experts


def ffn_params(ffn: Ffn, hidden: int) -> int:
    """Parameters of one feed-forward: dense, or all experts with the projections around them, the
    shared ones and the router; 0 where there is none."""
    if isinstance(ffn, NoFfn):
        return 0
    if isinstance(ffn, DenseFfn):
        return _mlp_params(hidden, ffn.width, ffn.gated, ffn.bias)
    routed = ffn.experts * expert_params(ffn, hidden) + latent_params(ffn, hidden)
    return routed + shared_params(ffn, hidden) + router_params(ffn, hidden)


# --- the whole model ---------------------------------------------------------------------------


def norm_params(layer: Layer, hidden: int) -> int:
    """Parameters of a block's norms: d before attention and d before the feed-forward, if any."""
    parts = 2 - isinstance(layer.attention, NoAttention) - isinstance(layer.ffn, NoFfn)
    return parts * hidden


def layer_params(layer: Layer, hidden: int) -> int:
    """Parameters of one block: attention, feed-forward and their norms. A block whose weights are
    an earlier one's counts them too; the total does not."""
    parts = attention_params(layer.attention, hidden) + ffn_params(layer.ffn, hidden)
    return parts + norm_params(layer, hidden)


def embedding_params(model: Model) -> int:
    """Parameters of input embedding and output head: 2·vocab·d, half of it when they are tied."""
    return model.vocab * model.hidden * (1 if model.tied_embeddings else 2)


def total_params(model: Model) -> int:
    """All parameters that are stored: the blocks (shared weights once), embedding and head, and
    the last norm (d). No MTP layers."""
    blocks = sum(
        n * layer_params(la, model.hidden)
        for la, n in model.layer_counts.items()
        if not la.shared_weights
    )
    return blocks + embedding_params(model) + model.hidden


def routed_params(model: Model) -> int:
    """Parameters of the routed experts of all layers: what expert parallelism divides."""
    return sum(
        n * la.ffn.experts * expert_params(la.ffn, model.hidden)
        for la, n in model.layer_counts.items()
        if isinstance(la.ffn, MoeFfn) and not la.shared_weights
    )


def active_params(model: Model) -> int:
    """Parameters that one token touches: the total without the experts it is not routed to.

    Embedding and head both count (DeepSeek-V3: 37.6 × 10⁹); a figure that leaves out the input
    embedding (gpt-oss: 5.1 × 10⁹) is lower by vocab·d.
    """
    idle = sum(
        n * (la.ffn.experts - la.ffn.top_k) * expert_params(la.ffn, model.hidden)
        for la, n in model.layer_counts.items()
        if isinstance(la.ffn, MoeFfn) and not la.shared_weights
    )
    return total_params(model) - idle


# --- KV and states -----------------------------------------------------------------------------

INDEX_SCALE_TOKENS = 128
"""Numbers of an indexer key under one FP32 scale: DeepSeek-V3.2's inference code, 132 B per key."""


def kv_elements_per_token(attention: Attention) -> int:
    """Numbers of the KV format cached per token and layer: 2·G·h (k and v); latent: kv_lora + rope,
    shared by all heads (arXiv 2405.04434, §2.1.2); none for states."""
    match attention:
        case GroupedAttention():
            return 2 * attention.kv_heads * attention.head_dim
        case LatentAttention():
            return attention.kv_lora + attention.rope_dim
        case SparseLatentAttention():
            return kv_elements_per_token(attention.latent)
    return 0


def index_bytes_per_token(attention: Attention) -> float:
    """Bytes of an indexer's key per token and layer, whatever the KV format: `index_dim` in FP8
    plus an FP32 scale for 128 of them; 0 without an indexer."""
    if not isinstance(attention, SparseLatentAttention):
        return 0.0
    return attention.index_dim + 4.0 * attention.index_dim / INDEX_SCALE_TOKENS


def recurrent_state_bytes(attention: Attention) -> float:
    """Bytes of one layer's recurrent state per sequence, at any length: heads·head_dim·state
    (Mamba-2), value_heads·key_dim·value_dim (gated delta), times its bytes per number."""
    match attention:
        case StateSpaceAttention():
            return attention.inner * attention.state * attention.state_bytes
        case GatedDeltaAttention():
            numbers = attention.value_heads * attention.key_dim * attention.value_dim
            return numbers * attention.state_bytes
    return 0.0


def conv_state_bytes(attention: Attention) -> float:
    """Bytes of one layer's kept convolution inputs per sequence: channels · conv · 2 B."""
    if isinstance(attention, StateSpaceAttention | GatedDeltaAttention):
        return attention.conv_channels * attention.conv * attention.conv_bytes
    return 0.0


def state_bytes_per_sequence(model: Model) -> float:
    """Bytes of recurrent and convolution states of one sequence over all layers, at any length."""
    each = {
        la: recurrent_state_bytes(la.attention) + conv_state_bytes(la.attention)
        for la in model.layer_counts
    }
    return model.streams * sum(n * each[la] for la, n in model.layer_counts.items())


def kv_bytes_per_token(model: Model, bytes_per_element: float = 2.0) -> float:
    """KV bytes that one token adds over all layers, while no layer's window is full; keys of
    indexers included, states (which do not grow) not."""
    each = sum(n * _token_bytes(la, bytes_per_element) for la, n in model.layer_counts.items())
    return model.streams * each


def _token_bytes(layer: Layer, bytes_per_element: float) -> float:
    kept = kv_elements_per_token(layer.attention) * bytes_per_element
    return layer.kv_share * (kept + index_bytes_per_token(layer.attention))


def kv_bytes_held(model: Model, context_tokens: int, bytes_per_element: float = 2.0) -> float:
    """Bytes that a sequence of `context_tokens` holds: KV, where a layer with a window holds at
    most that many tokens, and states."""
    held = 0.0
    for layer, n in model.layer_counts.items():
        window = layer.attention.window_tokens
        tokens = context_tokens if window is None else min(context_tokens, window)
        held += n * tokens * _token_bytes(layer, bytes_per_element)
    return model.streams * held + state_bytes_per_sequence(model)
