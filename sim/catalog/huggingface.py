"""Hugging Face `config.json` → `Model`.

Keys that change neither counts nor time (rope scaling, activation, router scaling) are not read;
a key that would, and is not modelled, refuses the file by name.
"""

from __future__ import annotations

from pathlib import Path

from sim.catalog import files
from sim.catalog.config import Config, read_config
from sim.catalog.families import FAMILIES, TIED_BY_DEFAULT
from sim.catalog.model import Model
from sim.catalog.quantization import published_formats
from sim.errors import ScenarioError, suggest

_UNMODELLED = (
    "attention_chunk_size",
    "index_topk",
    "linear_attn_config",
    "moe_latent_size",
    "text_config",
    "vision_config",
)
_MODELLED_IN = {
    "index_topk": {"deepseek_v32"},
    "moe_latent_size": {"nemotron_h", "deepseek_v3"},
}
"""The families that do model such a key; Kimi-K2 with a latent is DeepseekV3ForCausalLM."""
_ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "DeepseekV2ForCausalLM": "deepseek_v2",
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "DeepseekV32ForCausalLM": "deepseek_v32",
    "GptOssForCausalLM": "gpt_oss",
    "BloomForCausalLM": "bloom",
    "OPTForCausalLM": "opt",
    "NemotronHForCausalLM": "nemotron_h",
    "DeciLMForCausalLM": "nemotron-nas",
    "Qwen3NextForCausalLM": "qwen3_next",
}


def read_model(path: Path) -> Model:
    """The model that the `config.json` at `path` (file or folder) describes, named after it.

    Raises ScenarioError: unreadable file, unknown architecture, missing or ill-typed key, or a
    feature that is not modelled.
    """
    given = read_config(path)
    config = _followed(given)
    file = Path(given.file)
    name = file.resolve().parent.name if file.name == "config.json" else file.stem
    family = _family(config)
    for key in _UNMODELLED:
        if config.has(key) and family not in _MODELLED_IN.get(key, ()):
            raise config.wrong(key, "none, as models with it are not modelled")
    weights, experts = published_formats(config)
    return Model(
        name=name,
        hidden=config.whole("hidden_size", "n_embed"),
        vocab=config.whole("vocab_size"),
        layers=FAMILIES[family](config),
        tied_embeddings=config.flag("tie_word_embeddings", default=family in TIED_BY_DEFAULT),
        max_context_tokens=config.whole("max_position_embeddings", "seq_length"),
        source=given.word("_source", default=given.file),
        weight_format=weights,
        expert_format=experts,
        mtp_layers=config.whole("num_nextn_predict_layers", default=0, least=0),
    )


def architectures() -> tuple[str, ...]:
    """The `architectures` that are read, sorted."""
    return tuple(sorted(_ARCHITECTURES))


def _followed(config: Config) -> Config:
    """The config itself, or the catalog's that it names with `_same_as`."""
    if not config.has("_same_as"):
        return config
    extra = sorted(set(config.values) - {"_same_as", "_source"})
    if extra:
        raise config.wrong("_same_as", f"no other keys beside it, but there is '{extra[0]}'")
    return read_config(files.find("model", config.word("_same_as"), "models", ".json"))


def _family(config: Config) -> str:
    """The `model_type` whose rules apply: `architectures` decides, as it names the code that runs.

    One architecture may serve several types (Kimi-K2 is DeepseekV3ForCausalLM).
    """
    named = config.words("architectures")
    if named:
        if named[0] not in _ARCHITECTURES:
            raise ScenarioError(
                f"{config.file}: architecture '{named[0]}' is not known; "
                f"known: {', '.join(architectures())}"
            )
        return _ARCHITECTURES[named[0]]
    kind = config.word("model_type")
    if kind not in FAMILIES:
        near = suggest(kind, FAMILIES)
        raise ScenarioError(f"{config.file}: model_type '{kind}' is not known{near}")
    return kind
