"""Every training experiment is evaluated on its held-out rows while it trains."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import sft
from jaxalign.pipeline import held_out_metrics
from jaxalign.training import metrics
from tests.support import interrupt, kill, quick, small_runs

replace = dataclasses.replace
OFFLINE = {
    "sft": {"loss", "perplexity", "tokens", "rows"},
    "dpo": {"loss", "accuracy", "accuracy_low", "margin", "logratio/chosen"},
    "kto": {"loss", "accuracy", "accuracy_low", "margin", "rewards/desirable", "kl"},
    "reward_model": {"loss", "accuracy", "accuracy_low", "margin", "score/chosen"},
}
ONLINE = {"reward", "reward_low", "reward_std", "kl", "length", "entropy", "eos"}
NAMES = OFFLINE | dict.fromkeys(("ppo", "grpo", "online_dpo"), ONLINE)
NAMES["distill"] = {"loss", "forward_kl", "reverse_kl", "teacher_kl", "length", "eos"}
AT_THE_START = {  # the policy is its reference; float32 sums of some 30 nats
    "dpo": {"loss": np.log(2.0), "margin": 0.0},
    "kto": {"loss": 0.5, "margin": 0.0},
    "ppo": {"kl": 0.0},
    "grpo": {"kl": 0.0},
    "online_dpo": {"kl": 0.0},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("evaluated"))


def config_of(base, out, name, **told):
    pairs = [f"{key}={value}" for key, value in ({"mesh": "data=1"} | told).items()]
    return small_runs.experiment_config(base, out, name, pairs)


def evaluations(folder):
    lines = metrics.read_log(folder)
    return {x["step"]: x for x in lines if not metrics.is_training(x)}


@pytest.mark.parametrize("name", quick.only(["grpo"], NAMES))
def test_evaluated_at_the_start_between_and_at_the_end(base, tmp_path, name):
    module, config = config_of(base, tmp_path, name, steps=3, eval_every=2)
    numbers = module.main(config)
    lines = metrics.read_log(tmp_path)
    # each is written before the step of its number, whose loss is of the same state
    assert [x["step"] for x in lines] == [0, 0, 1, 2, 2, 3]
    assert [metrics.is_training(x) for x in lines] == [0, 1, 1, 0, 1, 0]
    found = evaluations(tmp_path)
    for line in found.values():
        assert {f"eval/{metric}" for metric in NAMES[name]} <= set(line)
    for metric, x in AT_THE_START.get(name, {}).items():
        # float32 rounding
        np.testing.assert_allclose(found[0][f"eval/{metric}"], x, atol=1e-4)
    # held-out numbers first, of the last evaluation; then those of training
    written = json.loads((tmp_path / "numbers.json").read_text())
    assert written == pytest.approx(numbers, nan_ok=True)
    kinds = [key.split("/")[0] for key in written]
    assert kinds[: kinds.count("eval")] == ["eval"] * kinds.count("eval")
    assert written["eval/step"] == 3
    last = {key: x for key, x in found[3].items() if key != "step"}
    assert last.items() <= written.items()
    assert written["train/loss"] == metrics.read_steps(tmp_path)[-1]["loss"]
    # the state of step 2, whose next training step is another batch of it
    assert found[2] != found[0] and found[3] != found[2]


@pytest.mark.parametrize("name", quick.only(["kto"], NAMES))
def test_a_resumed_run_has_the_same_evaluations(base, tmp_path, monkeypatch, name):
    """Also that of the checkpoint it resumes from, whose line is written again."""
    told = {"steps": 4, "eval_every": 1, "save_every": 2}
    best = "eval/accuracy" if name in ("dpo", "reward_model") else ""
    told |= {"keep_best": best} if best else {}
    module, whole = config_of(base, tmp_path / "whole", name, **told)
    module.main(whole)
    parts = replace(whole, out=tmp_path / "parts")
    with interrupt.stop_at_step(monkeypatch, 3), pytest.raises(interrupt.Stop):
        module.main(parts)
    module.main(replace(parts, resume=True))
    assert kill.differing_files(whole.out, parts.out) == []
    assert list(evaluations(parts.out)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", quick.only(["sft"], ["sft", "dpo", "ppo"]))
def test_evaluations_change_no_training_number(base, tmp_path, name):
    module, often = config_of(base, tmp_path / "often", name, steps=3, eval_every=1)
    module.main(often)
    never = replace(often, out=tmp_path / "never", eval_every=0, eval_rows=1)
    module.main(never)
    logs = [metrics.read_steps(x.out) for x in (often, never)]
    assert logs[0] == logs[1]
    models = [x.out / "policy" / "model.safetensors" for x in (often, never)]
    assert models[0].read_bytes() == models[1].read_bytes()


class TestBest:
    """SFT with given held-out losses: the lowest after 4 steps."""

    @pytest.fixture
    def run(self, base, tmp_path, monkeypatch):
        seen = {}

        def measure(loop):
            (norm,) = jax.tree.leaves(loop.state.params["norm"])
            seen[loop.step] = np.array(norm)
            return {"loss": abs(loop.step - 4.0) + 1.0}  # lowest after 4 steps

        monkeypatch.setattr(held_out_metrics, "conversations", lambda *_: measure)

        def run(name, **told):
            often = {"save_every": 100, "keep": 1, "eval_every": 2}
            told = often | {"steps": 8, "keep_best": "-eval/loss"} | told
            module, config = config_of(base, tmp_path / name, "sft", **told)
            return module, config, module.main(config), seen

        return run

    def test_the_best_evaluation_is_saved_and_exported(self, run):
        _, last, numbers, _ = run("last")
        assert kill.saved_steps(last.out) == [4, 8]  # two that were better are gone
        assert (numbers["eval/step"], numbers["eval/loss"]) == (8, 5.0)
        _, best, numbers, seen = run("best", export_best=True)
        assert (numbers["eval/step"], numbers["eval/loss"]) == (4, 1.0)
        assert numbers["train/loss"] == metrics.read_steps(best.out)[-1]["loss"]
        for config, step in ((last, 8), (best, 4)):
            model = load_file(config.out / "policy" / "model.safetensors")
            np.testing.assert_array_equal(model["model.norm.weight"], seen[step])
        assert not np.array_equal(seen[4], seen[8])

    def test_the_start_may_be_the_best(self, run):
        _, config, numbers, seen = run(
            "start", steps=2, export_best=True, keep_best="eval/loss"
        )
        assert (numbers["eval/step"], numbers["eval/loss"]) == (0, 5.0)
        assert kill.saved_steps(config.out) == [0, 2]
        model = load_file(config.out / "policy" / "model.safetensors")
        np.testing.assert_array_equal(model["model.norm.weight"], seen[0])

    def test_patience_ends_the_run_and_it_stays_ended(self, run, capsys):
        module, config, numbers, _ = run("short", patience=2, steps=20)
        assert list(evaluations(config.out)) == [0, 2, 4, 6, 8]
        said = " ".join(capsys.readouterr().out.split())
        assert "stopped after 8 of 20 steps: 2 evaluations without a better" in said
        assert "eval/loss than 1, after step 4 (--patience)" in said
        assert numbers["eval/step"] == 8 == len(metrics.read_steps(config.out))
        before = kill.contents(config.out)
        module.main(replace(config, resume=True))
        assert kill.contents(config.out) == before
        # more patience continues it, for an evaluation
        module.main(replace(config, resume=True, patience=3))
        assert list(evaluations(config.out)) == [0, 2, 4, 6, 8, 10]

    @pytest.mark.slow
    def test_a_stopped_run_has_the_same_best(self, run, monkeypatch):
        """Also where it is killed after the best; which steps it resumes from."""
        with interrupt.stop_at_step(monkeypatch, 7), pytest.raises(interrupt.Stop):
            run("whole")
        _, config, whole, seen = run("again", export_best=True)
        resumed = replace(config, out=config.out.parent / "whole", resume=True)
        assert sft.main(resumed) == whole
        assert kill.differing_files(resumed.out, config.out) == []


def test_what_cannot_be_is_refused(base, tmp_path):
    told = {"steps": 1, "keep_best": "eval/accuracy"}
    module, config = config_of(base, tmp_path, "sft", **told)
    with pytest.raises(ValueError, match="--keep-best: no metric 'eval/accuracy'"):
        module.main(config)
    with pytest.raises(ValueError, match="--keep-best eval/accuracy: no rows are"):
        module.main(replace(config, held_out=0.0))


def test_nothing_held_out_is_no_evaluation(base, tmp_path, capsys):
    module, config = config_of(base, tmp_path, "grpo", steps=1, held_out=0.0)
    numbers = module.main(config)
    said = " ".join(capsys.readouterr().out.split())
    assert "grpo: no prompts are held out: no evaluation" in said
    assert not [name for name in numbers if name.startswith("eval")]
    assert evaluations(tmp_path) == {}


def test_a_run_that_goes_wrong_says_so(base, tmp_path, capsys):
    """DPO at a hundred times its rate: the held-out loss rises; said once, and kept."""
    module, config = config_of(
        base, tmp_path, "dpo", steps=12, learning_rate=0.1, eval_every=1
    )
    module.main(config)
    kept = json.loads((tmp_path / "warnings.json").read_text())
    names = [each["warning"] for each in kept]
    assert "held_out_loss_rises" in names and len(set(names)) == len(names)
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("dpo: warning: held_out_loss_rises (step") == 1


@pytest.mark.slow
def test_a_mixture_an_adapter_and_a_token_cache(base, tmp_path):
    data = base / "pairs.jsonl"
    for name, told in {
        "mixed": {"data": f"{data}=1,{base / 'unpaired.jsonl'}=2"},
        "adapter": {"train": "lora"},
        "cached": {"token_cache": str(tmp_path / "cache")},
    }.items():
        experiment = "kto" if name == "mixed" else "dpo"
        told |= {"steps": 2, "eval_every": 1, "batch": 8}
        module, config = config_of(base, tmp_path / name, experiment, **told)
        numbers = module.main(config)
        assert np.isfinite(numbers["eval/loss"]) and numbers["eval/step"] == 2
