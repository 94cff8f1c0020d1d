"""Heads of a folder: one label of a reward model, and a tied or untied unembedding."""

import json

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxalign.models import pretrained
from tests.models import folder_cases
from tests.models.folder_cases import rewrite


class TestLabels:
    """A reward model has one score, by config.json or else by its head."""

    def test_the_head_has_the_count_where_config_json_has_none(self, tiny_folder):
        folder = tiny_folder("llama", reward=True)
        path = folder / "config.json"
        config_json = json.loads(path.read_text())
        del config_json["num_labels"]
        path.write_text(json.dumps(config_json))
        _, params = pretrained.load_reward(folder)
        rewrite(folder, id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0})
        _, named = pretrained.load_reward(folder)
        assert (
            params["head"]["weight"].shape[-1] == 1
            or params["head"]["weight"].ndim == 1
        )
        assert params["head"]["weight"].size == params["norm"]["scale"].size
        chex.assert_trees_all_equal(params, named)

    @pytest.mark.parametrize("changes", [
        {"num_labels": 2}, {"id2label": {"0": "bad", "1": "good"}}
    ])  # fmt: skip
    def test_several_labels_are_refused(self, tiny_folder, changes):
        folder = tiny_folder("llama", reward=True)
        rewrite(folder, **changes)
        with pytest.raises(ValueError, match=f"{next(iter(changes))} = 2 is not supp"):
            pretrained.read_config(folder, reward=True)

    def test_a_head_of_two_rows_is_refused(self, settings, tmp_path):
        config_json = settings("llama", reward=True)
        del config_json["num_labels"]
        folder_cases.write_folder(
            tmp_path, config_json, reward=True, shapes={"score.weight": (2, 32)}
        )
        with pytest.raises(ValueError, match=r"score.weight has shape \(2, 32\)"):
            pretrained.load_reward(tmp_path)


class TestTied:
    """A folder that says tied, with a head of its own: as transformers 5 loads it."""

    @pytest.fixture
    def saved(self, variant, draw, tmp_path):
        model = variant(tied=False)
        params = draw(model)
        pretrained.save(tmp_path, model, params)
        rewrite(tmp_path, tie_word_embeddings=True)
        return tmp_path, params

    def tensors(self, folder, change):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    def test_a_different_unembedding_is_not_tied(self, saved):
        folder, params = saved
        model, loaded = pretrained.load(folder, dtype=jnp.float32)
        assert not model.config.tied
        np.testing.assert_array_equal(loaded["unembed"], params["unembed"])
        np.testing.assert_array_equal(loaded["embed"], params["embed"])

    def test_an_equal_unembedding_is_tied(self, saved):
        folder, _ = saved
        same = lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"]})
        self.tensors(folder, same)
        model, loaded = pretrained.load(folder)
        assert model.config.tied and "unembed" not in loaded

    def test_one_different_number_is_not_tied(self, saved):
        folder, _ = saved

        def change(tensors):
            head = tensors["model.embed_tokens.weight"].copy()
            head[-1, -1] += 1
            tensors["lm_head.weight"] = head

        self.tensors(folder, change)
        assert not pretrained.load(folder)[0].config.tied

    def test_the_one_matrix_may_have_either_name(self, saved):
        folder, params = saved
        self.tensors(folder, lambda t: t.pop("model.embed_tokens.weight"))
        model, loaded = pretrained.load(folder)
        assert model.config.tied
        np.testing.assert_array_equal(loaded["embed"], params["unembed"].T)
