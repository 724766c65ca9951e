"""Names of models, the catalog's own and a user's path."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sim.catalog.counting import state_bytes_per_sequence
from sim.catalog.files import CATALOG
from sim.catalog.model import (
    GatedDeltaAttention,
    GroupedAttention,
    LatentAttention,
    Layer,
    NoAttention,
    NoFfn,
    SparseLatentAttention,
    StateSpaceAttention,
    load_model,
    model_names,
)
from sim.errors import ScenarioError


def test_a_name_is_found_in_any_case() -> None:
    assert load_model("Llama_3.1-8B") is load_model("llama-3.1-8b")


def test_a_typo_is_answered_with_a_suggestion() -> None:
    with pytest.raises(ScenarioError, match=r"model 'llama-3-8b' .* did you mean 'llama-3.1-8b'"):
        load_model("llama-3-8b")


def test_a_repository_name_is_answered_with_the_catalogs_name_for_it() -> None:
    with pytest.raises(ScenarioError, match=r"did you mean 'qwen3-32b'"):
        load_model("Qwen/Qwen3-32B-FP8")


@pytest.mark.parametrize("name", model_names())
def test_every_model_names_its_source_and_itself(name: str) -> None:
    model = load_model(name)
    assert model.name == name
    assert "https://huggingface.co/" in model.source


def test_r1_has_the_dimensions_of_v3() -> None:
    v3, r1 = load_model("deepseek-v3"), load_model("deepseek-r1")
    assert r1.source != v3.source
    assert replace(r1, name=v3.name, source=v3.source) == v3


def test_v3_begins_with_three_dense_layers() -> None:
    counts = load_model("deepseek-v3").layer_counts
    assert list(counts.values()) == [3, 58]
    assert all(isinstance(layer.attention, LatentAttention) for layer in counts)


def test_half_of_gpt_oss_sees_128_tokens() -> None:
    windows = [layer.attention.window_tokens for layer in load_model("gpt-oss-120b").layers]
    assert windows == [128, None] * 18


def test_the_published_formats_are_those_of_the_weights() -> None:
    formats = {n: (load_model(n).weight_format, load_model(n).expert_format) for n in model_names()}
    assert formats["deepseek-v3"] == ("fp8_block", None)
    assert formats["gpt-oss-120b"] == ("bf16", "mxfp4")
    assert formats["llama-2-70b"] == ("fp16", None)
    assert formats["qwen3-8b"] == ("bf16", None)


@pytest.mark.parametrize(
    "name, mamba, moe, attention",
    (
        ("nemotron-3-nano", 23, 23, 6),
        ("nemotron-3-super", 40, 40, 8),
        ("nemotron-3-ultra", 48, 48, 12),
    ),
)
def test_a_layer_of_nemotron_3_is_only_one_thing(
    name: str, mamba: int, moe: int, attention: int
) -> None:
    counts = load_model(name).layer_counts
    assert {type(la.attention): n for la, n in counts.items()} == {
        StateSpaceAttention: mamba, NoAttention: moe, GroupedAttention: attention,
    }  # fmt: skip
    for layer in counts:
        assert isinstance(layer.attention, NoAttention) != isinstance(layer.ffn, NoFfn)


def test_three_of_four_layers_of_qwen3_next_are_linear() -> None:
    model = load_model("qwen3-next-80b-a3b")
    kinds = [type(layer.attention) for layer in model.layers]
    assert kinds == ([GatedDeltaAttention] * 3 + [GroupedAttention]) * 12
    assert state_bytes_per_sequence(model) > 0


def test_v3_2_is_v3_with_an_indexer() -> None:
    sparse, dense = load_model("deepseek-v3.2"), load_model("deepseek-v3")
    for ours, theirs in zip(sparse.layers, dense.layers, strict=True):
        assert isinstance(ours.attention, SparseLatentAttention)
        assert ours.attention.latent == theirs.attention
        assert ours.attention.attended_tokens == 2048
        assert ours.ffn == theirs.ffn


def test_every_kind_of_attention_says_what_it_divides_keeps_and_attends_to() -> None:
    """What code of other rooms reads without knowing the kind."""
    for name in model_names():
        for layer in load_model(name).layer_counts:
            a = layer.attention
            assert a.q_heads >= 0
            for limit in (a.window_tokens, a.attended_tokens):
                assert limit is None or limit > 0
            assert layer.ffn.width >= 0
            assert layer.ffn.gated in (True, False)


def test_the_draft_layer_of_v3_is_known_but_not_counted() -> None:
    model = load_model("deepseek-v3")
    assert (model.mtp_layers, len(model.layers)) == (1, 61)


def test_layers_are_counted_by_kind() -> None:
    model = load_model("gpt-oss-120b")
    assert all(isinstance(layer, Layer) for layer in model.layer_counts)
    assert sorted(model.layer_counts.values()) == [18, 18]


def test_a_config_json_is_named_after_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my-llama"
    folder.mkdir()
    shutil.copy(CATALOG / "models/llama-3.1-8b.json", folder / "config.json")
    by_folder, by_file = load_model(str(folder)), load_model(str(folder / "config.json"))
    assert by_folder == by_file
    assert by_folder.name == "my-llama"
    assert by_folder.layers == load_model("llama-3.1-8b").layers


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    config = json.loads((CATALOG / "models/llama-3.1-8b.json").read_text())
    path.write_text(json.dumps(config))
    assert len(load_model(str(path)).layers) == 32
    path.write_text(json.dumps(config | {"num_hidden_layers": 16}))
    assert len(load_model(str(path)).layers) == 16


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"is a folder without a config\.json"):
        load_model(str(tmp_path))


def test_an_alias_with_keys_of_its_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"_same_as": "qwen3-8b", "hidden_size": 1}))
    with pytest.raises(ScenarioError, match="no other keys beside it, but there is 'hidden_size'"):
        load_model(str(path))
