"""Every experiment runs, and resumes exactly."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import collect, dpo, ppo, reward_model, rlhf, sft
from jaxalign import batches, losses
from jaxalign.data import chat
from jaxalign.data.records import assistant_message
from jaxalign.pipeline import datasets, policies
from jaxalign.runtime.config import RunConfig
from jaxalign.training import forward, metrics
from tests.support import quick

FEW = {"mesh": "data=1", "save_every": 2}
replace = dataclasses.replace


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "policy" / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_main_job_makes_what_it_says(smoke_run):
    out, rows = smoke_run
    assert [row["method"] for row in rows] == ["SFT", "best-of-2", "DPO", "PPO"]
    for name in ("table.md", "table.json", "reward_kl.png", "samples.md"):
        assert (out / name).stat().st_size > 100, name
    for stage in ("sft", "collect", "reward_model", "dpo", "ppo"):
        assert json.loads((out / stage / "numbers.json").read_text())
    # the SFT model is its own reference
    assert rows[0]["KL (nats)"] == 0.0
    assert [line["step"] for line in metrics.read_steps(out / "ppo")] == [0, 1]


def test_main_job_resumes_after_its_stages(smoke_run, monkeypatch):
    out, _ = smoke_run
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
def test_resumed_equals_uninterrupted(smoke_run, tmp_path, monkeypatch, name):
    out, _ = smoke_run
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


def test_ppo_starts_at_ratio_1(smoke_run, tmp_path):
    out, _ = smoke_run
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
    np.testing.assert_allclose(first["train/ratio"], 1.0, atol=1e-5)
    assert first["train/clipfrac"] == 0.0 and abs(first["train/approxkl"]) < 1e-9
    # the policy still is its reference
    np.testing.assert_allclose(first["train/kl"], 0.0, atol=1e-5)
    later = ppo.main(
        replace(config, out=tmp_path / "later", epochs=3, learning_rate=1e-2)
    )
    assert abs(later["train/ratio"] - 1.0) > 1e-4


@pytest.mark.parametrize(
    "loss",
    quick.only(
        ["cdpo", "mine"],
        ["cdpo", "kto", "tdpo2", "mine", "rpo", "ipo", "simpo", "orpo", "wpo"]
        + ["ld_dpo"],
    ),
)
def test_any_loss_trains(smoke_run, tmp_path, loss):
    out, _ = smoke_run
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
    assert np.isfinite(numbers["train/loss"])
    log_2 = dict.fromkeys(("cdpo", "ld_dpo", "tdpo2"), np.log(2.0))
    expected = log_2 | {"kto": 0.5, "ipo": 25.0}
    if loss in expected:
        # at the reference; float32 sums of log-probs of about -100
        np.testing.assert_allclose(numbers["train/loss"], expected[loss], rtol=1e-2)


@pytest.mark.parametrize("loss", quick.only(["aot"], ["aot", "aot_unpaired"]))
def test_a_loss_that_sorts_pairs_is_given_whole_batches(smoke_run, tmp_path, loss):
    """Rows that several prompts share have places without a pair, at log-probs of 0."""
    out, _ = smoke_run
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
        return [line["weight"] for line in metrics.read_steps(config.out)]

    assert counted(config) != [16, 16, 16]  # what there is to go wrong
    config = replace(config, loss=loss, out=tmp_path / "whole")
    assert counted(config) == [16, 16, 16]
    with pytest.raises(ValueError, match="sorts all pairs of a batch"):
        dpo.main(replace(config, out=tmp_path / "parts", micro_batches=2))


@pytest.mark.slow
def test_tdpo2_goes_on_exactly(smoke_run, tmp_path, monkeypatch):
    """The reference that runs in the step is the model that the run began with."""
    out, _ = smoke_run
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
def test_formatting_tokens_do_not_count(smoke_run, tmp_path):
    """The end of the turn changes no log-prob of a run that masks it."""
    out, _ = smoke_run
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
        np.testing.assert_allclose(found["train/loss"], expected, rtol=1e-5)


@pytest.mark.slow
def test_python_api_and_eight_devices(smoke_run, tmp_path):
    out, _ = smoke_run
    config = dpo.Config(
        steps=2,
        batch=8,
        model=str(out / "sft" / "policy"),
        data=str(out / "collect" / "preferences"),
    )
    one = dpo.main(replace(config, mesh="data=1", out=tmp_path / "1"))
    many = dpo.main(replace(config, mesh="data=2,fsdp=2,tensor=2", out=tmp_path / "8"))
    # float32 sums in another order, through two updates of Adam
    np.testing.assert_allclose(many["train/loss"], one["train/loss"], rtol=1e-4)


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
    assert 0.0 <= ppo.main(config)["train/reward"] <= 1.0
    again = replace(
        config, model=str(tmp_path / "first" / "policy"), out=tmp_path / "again"
    )
    assert np.isfinite(ppo.main(again)["train/loss"])
