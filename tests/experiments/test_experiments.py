"""Every experiment runs, resumes exactly, and ends bad input with one sentence."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import collect, dpo, ppo, reward_model, rlhf, sft
from jaxalign import batches, losses
from jaxalign.data import chat
from jaxalign.data.records import assistant_message
from jaxalign.pipeline import datasets, policies
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.flags import parse_mesh
from jaxalign.training import forward
from tests.support import quick

FEW = {"mesh": "data=1", "save_every": 2}
replace = dataclasses.replace


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """The smoke run of the main job, whose folders the other tests start from."""
    out = tmp_path_factory.mktemp("road")
    rows = rlhf.main(rlhf.Config(smoke=True, out=out, mesh="data=1"))
    return out, rows


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "policy" / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_main_job_makes_what_it_says(road):
    out, rows = road
    assert [row["method"] for row in rows] == ["SFT", "best-of-2", "DPO", "PPO"]
    for name in ("table.md", "table.json", "reward_kl.png", "samples.md"):
        assert (out / name).stat().st_size > 100, name
    for stage in ("sft", "collect", "reward_model", "dpo", "ppo"):
        assert json.loads((out / stage / "numbers.json").read_text())
    # the SFT model is its own reference
    assert rows[0]["KL (nats)"] == 0.0
    lines = (out / "ppo" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1]


def test_main_job_resumes_after_its_stages(road, monkeypatch):
    out, _ = road
    for module in (sft, collect, reward_model, dpo, ppo):
        monkeypatch.setattr(module, "main", lambda config: pytest.fail("ran again"))
    before = (out / "table.md").read_text()
    rlhf.main(rlhf.Config(smoke=True, out=out, mesh="data=1", resume=True))
    assert (out / "table.md").read_text() == before


class Stop(Exception):
    """A run that is killed."""


def killed(run, config, step, monkeypatch):
    """Runs an experiment until a step has been logged, and no further."""
    from jaxalign.runtime.run import Run

    log = Run.log

    def until(self, i, *args, **kwargs):
        if i == step:
            raise Stop
        log(self, i, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", until)
        with pytest.raises(Stop):
            run(config)
    run(replace(config, resume=True))


@pytest.mark.parametrize("name", quick.only(["dpo"], ["sft", "dpo", "ppo"]))
def test_resumed_equals_uninterrupted(road, tmp_path, monkeypatch, name):
    out, _ = road
    base, pairs = str(out / "sft" / "policy"), str(out / "collect" / "preferences")
    config = {
        "sft": sft.Config(steps=5, batch=8, model=base, **FEW),
        "dpo": dpo.Config(steps=5, batch=4, model=base, data=pairs, **FEW),
        "ppo": ppo.Config(
            steps=5,
            batch=8,
            model=base,
            kl_target=1.0,
            reward=str(out / "reward_model" / "reward"),
            **FEW,
        ),
    }[name]
    run = {"sft": sft, "dpo": dpo, "ppo": ppo}[name].main
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(replace(config, out=whole))
    killed(run, replace(config, out=parts), 3, monkeypatch)
    # the same program on the same inputs: the same bits
    assert same(whole, parts)
    assert not same(whole, out / "sft")
    lines = [(f / "metrics.jsonl").read_text() for f in (whole, parts)]
    assert lines[0] == lines[1]


def test_ppo_starts_at_ratio_1(road, tmp_path):
    out, _ = road
    config = ppo.Config(
        steps=1,
        batch=8,
        epochs=1,
        minibatches=1,
        temperature=0.7,
        model=str(out / "sft" / "policy"),
        reward=str(out / "reward_model" / "reward"),
        out=tmp_path / "first",
        **FEW,
    )
    first = ppo.main(config)
    # two programs that compute the same log-probs: float32 rounding
    np.testing.assert_allclose(first["ratio"], 1.0, atol=1e-5)
    assert first["clipfrac"] == 0.0 and abs(first["approxkl"]) < 1e-9
    # the policy still is its reference
    np.testing.assert_allclose(first["kl"], 0.0, atol=1e-5)
    later = ppo.main(
        replace(config, out=tmp_path / "later", epochs=3, learning_rate=1e-2)
    )
    assert abs(later["ratio"] - 1.0) > 1e-4


@pytest.mark.parametrize(
    "loss",
    quick.only(
        ["cdpo", "mine"],
        ["cdpo", "kto", "tdpo2", "mine", "rpo", "ipo", "simpo", "orpo", "wpo"]
        + ["ld_dpo"],
    ),
)
def test_any_loss_trains(road, tmp_path, loss):
    out, _ = road
    config = dpo.Config(
        loss="dpo" if loss == "mine" else loss,
        label_smoothing=0.1 if loss == "cdpo" else None,
        steps=1,
        batch=4,
        model=str(out / "sft" / "policy"),
        data=str(out / "collect" / "preferences"),
        out=tmp_path,
        **FEW,
    )
    mine = lambda p: losses.dpo(*p.sums, beta=0.1) - 0.2 * p.policy.chosen_mean
    numbers = dpo.main(config, loss=mine if loss == "mine" else None)
    assert np.isfinite(numbers["loss"])
    log_2 = dict.fromkeys(("cdpo", "ld_dpo", "tdpo2"), np.log(2.0))
    expected = log_2 | {"kto": 0.5, "ipo": 25.0}
    if loss in expected:
        # at the reference; float32 sums of log-probs of about -100
        np.testing.assert_allclose(numbers["loss"], expected[loss], rtol=1e-2)


@pytest.mark.parametrize("loss", quick.only(["aot"], ["aot", "aot_unpaired"]))
def test_a_loss_that_sorts_pairs_is_given_whole_batches(road, tmp_path, loss):
    """Rows that several prompts share have places without a pair, at log-probs of 0."""
    out, _ = road
    text = (out / "collect" / "preferences" / "train.jsonl").read_text()
    rows = [json.loads(line) for line in 4 * text.splitlines()]
    for i, row in enumerate(rows):  # of lengths that pack into rows unevenly
        if i % 3:
            row |= {"chosen": "yes." * (i % 5 + 1), "rejected": "no."}
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = dpo.Config(
        loss="dpo",
        steps=3,
        batch=16,
        model=str(out / "sft" / "policy"),
        data=str(tmp_path / "pairs.jsonl"),
        out=tmp_path / "shared",
        **FEW,
    )

    def counted(config):
        dpo.main(config)
        lines = (config.out / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["weight"] for line in lines]

    assert counted(config) != [16, 16, 16]  # what there is to go wrong
    config = replace(config, loss=loss, out=tmp_path / "whole")
    assert counted(config) == [16, 16, 16]
    with pytest.raises(ValueError, match="sorts all pairs of a batch"):
        dpo.main(replace(config, out=tmp_path / "parts", micro_batches=2))


@pytest.mark.slow
def test_tdpo2_goes_on_exactly(road, tmp_path, monkeypatch):
    """The reference that runs in the step is the model that the run began with."""
    out, _ = road
    config = dpo.Config(
        loss="tdpo2",
        steps=3,
        batch=4,
        model=str(out / "sft" / "policy"),
        data=str(out / "collect" / "preferences"),
        **FEW,
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    dpo.main(replace(config, out=whole))
    killed(dpo.main, replace(config, out=parts), 2, monkeypatch)
    assert same(whole, parts) and not same(whole, out / "sft")
    assert not (whole / "reference").exists()  # nothing was kept


@pytest.mark.slow
def test_formatting_tokens_do_not_count(road, tmp_path):
    """The end of the turn changes no log-prob of a run that masks it."""
    out, _ = road
    base, data = str(out / "sft" / "policy"), tmp_path / "pairs.jsonl"
    ask = [{"role": "user", "content": "copy ab"}]
    rows = [{"prompt": ask, "chosen": "ab", "rejected": "ba"}] * 20
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = RunConfig(mesh="data=1", data=str(data), model=base)
    policy = policies.load(shared, datasets.load(shared), None)
    config = dpo.Config(
        steps=1,
        batch=4,
        loss="rpo",
        alpha=1.0,
        model=base,
        data=str(data),
        held_out=0.0,
        **FEW,
    )
    for masked in (False, True):
        found = dpo.main(
            replace(config, mask_formatting=masked, out=tmp_path / f"{masked}")
        )
        row = chat.encode(policy.tokenizer, [*ask, assistant_message("ab")])
        ends = policy.tokenizer.eos_token_id
        counts = row.mask & (row.tokens != ends) if masked else row.mask
        batch = batches.from_lengths(
            row.tokens[None], np.array([len(row.tokens)]), np.array([1])
        )
        logp = forward.token_logps(policy.model, policy.params, batch)[0]
        # at the reference: log 2, and the NLL per token
        expected = np.log(2.0) - np.asarray(logp)[counts].mean()
        np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


@pytest.mark.slow
def test_python_api_and_eight_devices(road, tmp_path):
    out, _ = road
    config = dpo.Config(
        steps=2,
        batch=8,
        model=str(out / "sft" / "policy"),
        data=str(out / "collect" / "preferences"),
    )
    one = dpo.main(replace(config, mesh="data=1", out=tmp_path / "1"))
    many = dpo.main(replace(config, mesh="data=2,fsdp=2,tensor=2", out=tmp_path / "8"))
    # float32 sums in another order, through two updates of Adam
    np.testing.assert_allclose(many["loss"], one["loss"], rtol=1e-4)


@pytest.mark.slow
def test_pretrained_model_on_stories(public_data, tmp_path):
    """A real Llama, PPO against happy endings; the result loads again."""
    config = ppo.Config(
        model=str(public_data / "stories260K" / "hf"),
        data="stories",
        data_path=public_data / "text" / "tinystories_1mb.txt",
        steps=1,
        batch=4,
        minibatches=1,
        max_new_tokens=16,
        out=tmp_path / "first",
        **FEW,
    )
    assert 0.0 <= ppo.main(config)["reward"] <= 1.0
    again = replace(
        config, model=str(tmp_path / "first" / "policy"), out=tmp_path / "again"
    )
    assert np.isfinite(ppo.main(again)["loss"])


class TestBadInput:
    """Each ends with one sentence that says what to do, and loses nothing."""

    def test_unknown_loss_suggests(self, tmp_path):
        with pytest.raises(ValueError, match="did you mean .*dpo"):
            dpo.main(dpo.Config(loss="dpoo", out=tmp_path))

    def test_mesh_that_does_not_divide_the_batch(self, road, tmp_path):
        config = sft.Config(steps=1, batch=6, mesh="data=4", out=tmp_path)
        with pytest.raises(ValueError, match="--batch 6 does not divide into the 4 "):
            sft.main(config)

    @pytest.mark.parametrize("mesh", ["data", "data=x", "rows=2", "data=64"])
    def test_mesh_that_cannot_be(self, mesh):
        with pytest.raises(ValueError, match="mesh"):
            sources_mesh(mesh)

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

    def test_a_run_is_not_overwritten(self, road):
        out, _ = road
        with pytest.raises(ValueError, match="already holds a run"):
            sft.main(sft.Config(steps=1, batch=8, out=out / "sft", mesh="data=1"))

    def test_a_checkpoint_of_another_config(self, road):
        out, _ = road
        saved = sorted((out / "sft" / "checkpoints").iterdir())
        config = sft.Config(
            batch=8, learning_rate=1.0, out=out / "sft", mesh="data=1", resume=True
        )
        with pytest.raises(ValueError, match="learning_rate: 0.002 then, 1.0 now"):
            sft.main(config)
        assert sorted((out / "sft" / "checkpoints").iterdir()) == saved

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="cannot write"):
            sft.main(sft.Config(out=tmp_path / "file" / "run", **FEW))

    def test_a_nan_stops_the_run_and_keeps_the_checkpoint(self, road, tmp_path):
        out, _ = road
        base = str(out / "sft" / "policy")
        pairs = str(out / "collect" / "preferences")
        config = dpo.Config(
            steps=4, batch=4, model=base, data=pairs, out=tmp_path, **FEW
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


def sources_mesh(text: str):
    from jaxalign.runtime.mesh import mesh_of

    return mesh_of(RunConfig(mesh=text))


def test_parse_mesh():
    assert parse_mesh("data=2, fsdp=4") == {"data": 2, "fsdp": 4}
    assert parse_mesh("") is None
