"""How many parameters and KV elements a model has: one home for each count.

Shapes are (in, out): a row of activations times the matrix. Dimensions: d = hidden, H = query
heads, G = KV heads, h = head_dim, w = width of a feed-forward.
"""

from __future__ import annotations

from sim.catalog.model import (
    Attention,
    DenseFfn,
    Ffn,
    GroupedAttention,
    LatentAttention,
    Layer,
    Model,
    MoeFfn,
)

Shape = tuple[int, int]

# --- attention ---------------------------------------------------------------------------------


def attention_matrices(attention: Attention, hidden: int) -> dict[str, Shape]:
    """The weight matrices of one attention, by name, as (in, out).

    Grouped: q (d, H·h), k and v (d, G·h), o (H·h, d). Latent (DeepSeek-V2, arXiv 2405.04434):
    q_a (d, q_lora), q_b (q_lora, H·(nope + rope)), or one q (d, H·(nope + rope)) without query
    compression; kv_a (d, kv_lora + rope), kv_b (kv_lora, H·(nope + v)), o (H·v, d).
    """
    if isinstance(attention, LatentAttention):
        return _latent_matrices(attention, hidden)
    q = attention.q_heads * attention.head_dim
    kv = attention.kv_heads * attention.head_dim
    return {"q": (hidden, q), "k": (hidden, kv), "v": (hidden, kv), "o": (q, hidden)}


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


def attention_params(attention: Attention, hidden: int) -> int:
    """Parameters of one attention: matrices, biases, inner norms and sinks.

    Σ in·out + biases (H·h + 2·G·h for q, k, v; d for o) + 2·h (norms of q and k) + H (sinks);
    latent: + q_lora + kv_lora (norms of the latents).
    """
    matrices = sum(rows * cols for rows, cols in attention_matrices(attention, hidden).values())
    if isinstance(attention, LatentAttention):
        return matrices + (attention.q_lora or 0) + attention.kv_lora
    qkv = (attention.q_heads + 2 * attention.kv_heads) * attention.head_dim
    return (
        matrices
        + (qkv if attention.qkv_bias else 0)
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
    """Parameters of one routed expert: 3·d·w (2·d·w ungated), plus its biases."""
    return _mlp_params(hidden, ffn.width, ffn.gated, ffn.bias)


def shared_params(ffn: MoeFfn, hidden: int) -> int:
    """Parameters of all shared experts together: one feed-forward of their summed width."""
    if ffn.shared_width == 0:
        return 0
    return _mlp_params(hidden, ffn.shared_width, ffn.gated, ffn.bias)


def router_params(ffn: MoeFfn, hidden: int) -> int:
    """Parameters of the router: d·experts, plus one per expert for a bias or a correction."""
    return (hidden + ffn.bias + ffn.router_bias) * ffn.experts


def ffn_params(ffn: Ffn, hidden: int) -> int:
    """Parameters of one feed-forward: dense, or all experts, the shared ones and the router."""
    if isinstance(ffn, DenseFfn):
        return _mlp_params(hidden, ffn.width, ffn.gated, ffn.bias)
    routed = ffn.experts * expert_params(ffn, hidden)
    return routed + shared_params(ffn, hidden) + router_params(ffn, hidden)


# --- the whole model ---------------------------------------------------------------------------


def layer_params(layer: Layer, hidden: int) -> int:
    """Parameters of one block: attention, feed-forward and the two norms before them (2·d)."""
    return attention_params(layer.attention, hidden) + ffn_params(layer.ffn, hidden) + 2 * hidden


def embedding_params(model: Model) -> int:
    """Parameters of input embedding and output head: 2·vocab·d, half of it when they are tied."""
    return model.vocab * model.hidden * (1 if model.tied_embeddings else 2)


def total_params(model: Model) -> int:
    """All parameters: the blocks, embedding and head, and the last norm (d). No MTP layers."""
    blocks = sum(n * layer_params(la, model.hidden) for la, n in model.layer_counts.items())
    return blocks + embedding_params(model) + model.hidden


def routed_params(model: Model) -> int:
    """Parameters of the routed experts of all layers: what expert parallelism divides."""
    return sum(
        n * la.ffn.experts * expert_params(la.ffn, model.hidden)
        for la, n in model.layer_counts.items()
        if isinstance(la.ffn, MoeFfn)
    )


def active_params(model: Model) -> int:
    """Parameters that one token touches: the total without the experts it is not routed to.

    Embedding and head both count (DeepSeek-V3: 37.6 × 10⁹); a figure that leaves out the input
    embedding (gpt-oss: 5.1 × 10⁹) is lower by vocab·d.
    """
    idle = sum(
        n * (la.ffn.experts - la.ffn.top_k) * expert_params(la.ffn, model.hidden)
        for la, n in model.layer_counts.items()
        if isinstance(la.ffn, MoeFfn)
    )
    return total_params(model) - idle


# --- KV ----------------------------------------------------------------------------------------


def kv_elements_per_token(attention: Attention) -> int:
    """Cached numbers per token and layer: 2·G·h (k and v); latent: kv_lora + rope, shared by
    all heads (arXiv 2405.04434, §2.1.2)."""
    if isinstance(attention, GroupedAttention):
        return 2 * attention.kv_heads * attention.head_dim
    return attention.kv_lora + attention.rope_dim


def kv_bytes_per_token(model: Model, bytes_per_element: float = 2.0) -> float:
    """KV bytes that one token adds over all layers, while no layer's window is full."""
    elements = sum(n * kv_elements_per_token(la.attention) for la, n in model.layer_counts.items())
    return elements * bytes_per_element


def kv_bytes_held(model: Model, context_tokens: int, bytes_per_element: float = 2.0) -> float:
    """KV bytes of a sequence of `context_tokens`: a layer with a window holds at most that many."""
    elements = 0
    for layer, n in model.layer_counts.items():
        window = layer.attention.window_tokens
        tokens = context_tokens if window is None else min(context_tokens, window)
        elements += n * tokens * kv_elements_per_token(layer.attention)
    return elements * bytes_per_element
