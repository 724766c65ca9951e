"""What a model is: its layers as dimensions, and where to get one.

Parameter counts and KV bytes follow from the dimensions (`sim.catalog.counting`); nothing is
typed in twice. The kinds of attention and feed-forward are in `attention.py` and `ffn.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sim.catalog import files
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

__all__ = [
    "Attention",
    "DenseFfn",
    "Ffn",
    "GatedDeltaAttention",
    "GroupedAttention",
    "LatentAttention",
    "Layer",
    "Model",
    "MoeFfn",
    "NoAttention",
    "NoFfn",
    "SparseLatentAttention",
    "StateSpaceAttention",
    "load_model",
    "model_names",
]


@dataclass(frozen=True, slots=True)
class Layer:
    """One block: attention, then feed-forward, each behind a norm; either may be none.

    The last three describe repeated layers (mixture of recursions, arXiv 2507.10524); a plain
    layer leaves them alone.
    """

    attention: Attention
    ffn: Ffn
    token_share: float = 1.0
    """Fraction of the tokens that pass through this layer."""
    kv_share: float = 1.0
    """Fraction of the tokens whose KV this layer keeps: 0 where it reads an earlier layer's."""
    shared_weights: bool = False
    """Its weights are those of an earlier layer: read again, but not stored again."""


@dataclass(frozen=True, slots=True)
class Model:
    """A decoder-only language model, loaded from a Hugging Face `config.json`."""

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
    streams: int = 1
    """Parallel streams that every token is computed in (ParScale, arXiv 2505.10475): tokens per
    step, KV and states times `streams`, weights once."""

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
