"""What a model is: its layers as dimensions, and where to get one.

Parameter counts and KV bytes follow from the dimensions (`sim.catalog.counting`); nothing is
typed in twice.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sim.catalog import files


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


@dataclass(frozen=True, slots=True)
class DenseFfn:
    """A feed-forward layer. Gated (SwiGLU) has three matrices, ungated two."""

    width: int
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class MoeFfn:
    """A mixture of experts: `top_k` of `experts` per token plus `shared` experts for all."""

    experts: int
    top_k: int
    width: int
    """Intermediate width of one routed expert."""
    shared_width: int = 0
    """Summed intermediate width of the shared experts; 0 = none."""
    gated: bool = True
    bias: bool = False
    """Biases on expert matrices and router (gpt-oss)."""
    router_bias: bool = False
    """A correction bias per expert in the router (DeepSeek-V3)."""


Attention = GroupedAttention | LatentAttention
Ffn = DenseFfn | MoeFfn


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer block: attention, then feed-forward, each behind an RMS norm."""

    attention: Attention
    ffn: Ffn


@dataclass(frozen=True, slots=True)
class Model:
    """A decoder-only transformer, loaded from a Hugging Face `config.json`."""

    name: str
    hidden: int
    vocab: int
    layers: tuple[Layer, ...]
    tied_embeddings: bool
    max_context_tokens: int
    source: str
    """Where the dimensions are from."""
    weight_format: str = "bf16"
    """The number format in which the weights are published; a scenario may choose another.
    With `fp8` embeddings, head, norms and routers stay in 16 bits, as DeepSeek publishes them."""
    expert_format: str | None = None
    """The format of the routed experts where it differs (gpt-oss: mxfp4); None = the same."""
    mtp_layers: int = 0
    """Multi-token-prediction layers that come with the weights, for drafting. They are not in
    `layers` and not in any count."""

    @property
    def layer_counts(self) -> dict[Layer, int]:
        """Distinct layers and how often each occurs."""
        return dict(Counter(self.layers))


def model_names() -> tuple[str, ...]:
    """The models of the catalog, sorted."""
    return files.names("models", ".json")


def load_model(name_or_path: str) -> Model:
    """A model of the catalog by name, or any Hugging Face `config.json` (file, or its folder).

    Raises ScenarioError: no such model, an architecture that is not known, or a key that is
    missing or of the wrong type.
    """
    path = files.find("model", name_or_path, "models", ".json")
    return _from_catalog(path) if path.is_relative_to(files.CATALOG) else _read(path)


@cache
def _from_catalog(path: Path) -> Model:
    return _read(path)


def _read(path: Path) -> Model:
    from sim.catalog import huggingface  # the reader builds the values defined above

    return huggingface.read_model(path)
