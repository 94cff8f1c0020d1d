"""Bad input ends each experiment with one sentence, before anything is lost."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import dpo, grpo, sft
from jaxalign.pipeline import datasets
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.flags import parse_mesh
from jaxalign.runtime.mesh import mesh_of

FEW = {"mesh": "data=1", "save_every": 2}


@pytest.fixture(scope="module")
def sft_run(tmp_path_factory):
    """The folder of a run of SFT, of two steps."""
    out = tmp_path_factory.mktemp("sft")
    sft.main(sft.Config(steps=2, batch=8, out=out, **FEW))
    return out


class TestBadInput:
    """Each ends with one sentence that says what to do, and loses nothing."""

    def test_unknown_loss_suggests(self, tmp_path):
        with pytest.raises(ValueError, match="did you mean .*dpo"):
            dpo.main(dpo.Config(loss="dpoo", out=tmp_path))

    def test_mesh_that_does_not_divide_the_batch(self, tmp_path):
        config = sft.Config(steps=1, batch=6, mesh="data=4", out=tmp_path)
        with pytest.raises(ValueError, match="--batch 6 does not divide into the 4 "):
            sft.main(config)

    @pytest.mark.parametrize("mesh", ["data", "data=x", "rows=2", "data=64"])
    def test_mesh_that_cannot_be(self, mesh):
        with pytest.raises(ValueError, match="mesh"):
            mesh_of(RunConfig(mesh=mesh))

    def test_data_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="neither toy"):
            datasets.load(RunConfig(data=str(tmp_path / "none.jsonl")))
        with pytest.raises(ValueError, match="needs --data-path"):
            datasets.load(RunConfig(data="hh-rlhf"))

    def test_empty_and_malformed_data(self, tmp_path):
        file = tmp_path / "rows.jsonl"
        file.write_text("")
        with pytest.raises(ValueError, match="no usable rows|holds no"):
            datasets.load(RunConfig(data=str(file))).preferences()
        good = {"prompt": "a", "chosen": "b", "rejected": "c"}
        file.write_text(json.dumps(good) + "\n" + json.dumps({"prompt": "a"}) + "\n")
        with pytest.raises(ValueError, match=r"rows.jsonl:2.*chosen.*--skip-bad-rows"):
            datasets.load(RunConfig(data=str(file))).preferences()
        flags = RunConfig(data=str(file), skip_bad_rows=True, held_out=0.0)
        kept = datasets.load(flags).preferences()
        assert len(kept[0]) == 1

    def test_an_unknown_architecture_before_anything_else(self, tmp_path):
        mamba = {"architectures": ["MambaForCausalLM"], "model_type": "mamba"}
        (tmp_path / "config.json").write_text(json.dumps(mamba))
        config = sft.Config(model=str(tmp_path), out=tmp_path / "out")
        with pytest.raises(ValueError, match="MambaForCausalLM; known: LlamaForCausal"):
            sft.main(config)

    def test_a_folder_without_a_model(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds no"):
            sft.main(sft.Config(model=str(tmp_path), out=tmp_path / "run", **FEW))

    def test_a_run_is_not_overwritten(self, sft_run):
        with pytest.raises(ValueError, match="already holds a run"):
            sft.main(sft.Config(steps=1, batch=8, out=sft_run, mesh="data=1"))

    def test_a_checkpoint_of_another_config(self, sft_run):
        saved = sorted((sft_run / "checkpoints").iterdir())
        config = sft.Config(
            batch=8, learning_rate=1.0, out=sft_run, mesh="data=1", resume=True
        )
        with pytest.raises(ValueError, match="learning_rate: 0.002 then, 1.0 now"):
            sft.main(config)
        assert sorted((sft_run / "checkpoints").iterdir()) == saved

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="cannot write"):
            sft.main(sft.Config(out=tmp_path / "file" / "run", **FEW))

    def test_a_nan_stops_the_run_and_keeps_the_checkpoint(self, sft_run, tmp_path):
        base = str(sft_run / "policy")
        config = dpo.Config(
            steps=4, batch=4, model=base, learning_rate=1e-3, out=tmp_path, **FEW
        )
        # finite at the reference, whose log-probs come of another program; then NaN
        moved = lambda p: abs(p.policy.chosen - p.reference.chosen) > 1e-3
        bad = lambda p: jax.numpy.where(moved(p), np.nan, p.policy.chosen)
        with pytest.raises(FloatingPointError, match="step 1"):
            dpo.main(config, loss=bad)

    def test_command_line_ends_with_a_sentence(self, tmp_path):
        command = [sys.executable, "-m", "experiments.dpo", "--loss", "dop"]
        done = subprocess.run(
            [*command, "--out", str(tmp_path / "run")],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode == 1
        assert "error: --loss: unknown loss 'dop': did you mean dpo" in done.stderr
        assert "Traceback" not in done.stderr


def test_parse_mesh():
    assert parse_mesh("data=2, fsdp=4") == {"data": 2, "fsdp": 4}
    assert parse_mesh("") is None


def test_bad_settings_of_group_methods(tmp_path):
    with pytest.raises(ValueError, match="did you mean .*grpo"):
        grpo.main(grpo.Config(method="gpro", out=tmp_path))
    with pytest.raises(ValueError, match="^--samples 1: .* at least 2 samples"):
        grpo.main(grpo.Config(samples=1, out=tmp_path))
    with pytest.raises(ValueError, match="do not divide into 3"):
        grpo.main(grpo.Config(minibatches=3, out=tmp_path))
