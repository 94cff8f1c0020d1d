"""A resumed run is the uninterrupted one, to the byte, and refuses what it is not."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments import sft
from jaxalign.runtime import flags
from jaxalign.runtime.run import Run
from jaxalign.training import metrics
from tests.support import interrupt, kill, quick, small_runs

replace = dataclasses.replace
RUNS = {
    "sft": {},
    "sft lora": {"train": "lora"},
    "reward_model": {},
    "dpo": {},
    "dpo token_cache": {"token_cache": True},
    "kto": {"data": "pairs", "batch": 8},
    "kto unpaired": {"token_cache": True, "train": "lora"},
    "ppo": {"normalize": "running", "minibatches": 2},
    "grpo": {},
    "online_dpo": {},
    "distill": {},
    "distill seq_kd": {"seq_kd": True},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("resume"))


def config(base, out, name="sft", **told):
    """The module of an experiment, and its configuration."""
    pairs = [f"{key}={value}" for key, value in ({"mesh": "data=1"} | told).items()]
    return small_runs.experiment_config(base, out, name, pairs)


@pytest.mark.parametrize("name", quick.only(["ppo"], RUNS))
def test_stopped_anywhere_is_the_same_to_the_byte(base, tmp_path, monkeypatch, name):
    """In a step between checkpoints; after the last of them; and when all is done."""
    told = {"steps": 3, "save_every": 2} | RUNS[name]
    if "token_cache" in told:
        told["token_cache"] = tmp_path / "cache"
    if told.get("data") == "pairs":
        told["data"] = base / "pairs.jsonl"
    module, given = config(base, tmp_path / "whole", name.split()[0], **told)
    module.main(given)
    kept = {"numbers.json", "metrics.jsonl", "checkpoints/data/metadata"}
    assert kept <= set(kill.contents(given.out))
    assert len(json.loads((given.out / "numbers.json").read_text())) > 3
    parts = replace(given, out=tmp_path / "parts")
    with interrupt.stop_at_step(monkeypatch, 2), pytest.raises(interrupt.Stop):
        module.main(parts)
    parts = replace(parts, resume=True)
    with interrupt.stop_before_numbers(monkeypatch), pytest.raises(interrupt.Stop):
        module.main(parts)
    assert not (parts.out / "numbers.json").exists()
    module.main(parts)
    assert kill.differing_files(given.out, parts.out) == []
    module.main(parts)  # which is done
    assert kill.differing_files(given.out, parts.out) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rlhf", "rejection_sampling", "rounds"])
def test_stopped_in_every_stage_is_the_same_to_the_byte(
    base, tmp_path, monkeypatch, name
):
    """Checkpoints, models, rows and numbers of every stage, and the table of all."""
    module, given = config(base, tmp_path / "whole", name)
    module.main(given)
    parts = replace(given, out=tmp_path / "parts")
    with interrupt.stop_each_stage_once(monkeypatch) as stopped:
        while True:
            before = len(stopped)
            try:
                module.main(replace(parts, resume=before > 0))
                break
            except interrupt.Stop:
                assert len(stopped) == before + 1
    stages = {path.parent for path in given.out.rglob("numbers.json")}
    assert len(stopped) == len(stages) >= 4
    assert kill.differing_files(given.out, parts.out) == []
    module.main(replace(parts, resume=True))  # which is done
    assert kill.differing_files(given.out, parts.out) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-9],
        lambda text: b"\xff\xfe\x00garbage\n" + text,
        lambda text: text.replace(b"loss", b"l\xf6ss", 1),
        lambda text: b"[1]\n7\nnull\n" + text,
        lambda text: b"",
    ],
)
def test_a_damaged_log_does_not_stop_a_resume(base, tmp_path, damage):
    module, given = config(base, tmp_path, steps=2, save_every=1)
    numbers = module.main(given)
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(damage(log.read_bytes()))
    assert module.main(replace(given, resume=True)) == numbers
    steps = [line["step"] for line in metrics.read_steps(tmp_path)]
    assert steps == sorted(set(steps) & {0, 1})
    # the evaluation of the last checkpoint is written again, from the checkpoint
    assert metrics.read_log(tmp_path)[-1]["eval/loss"] == numbers["eval/loss"]


class TestSchedule:
    def test_other_steps_are_refused_unless_told(self, base, tmp_path, capsys):
        module, given = config(base, tmp_path, steps=4, save_every=2)
        module.main(given)
        longer = replace(given, steps=8, resume=True)
        with pytest.raises(
            ValueError, match="has 4 steps, and now should have 8.*--ex"
        ):
            module.main(longer)
        # the same once more: a refusal leaves nothing that would be believed
        with pytest.raises(ValueError, match="has 4 steps, and now should have 8"):
            module.main(longer)
        module.main(replace(longer, extend=True))
        said = " ".join(capsys.readouterr().out.split())
        # cosine, no warmup within 4 or 8 steps: 0 at the end of 4, half in the middle
        # of 8 of the rate 2e-3
        assert "at step 4 the learning rate jumps from 0 to 0.001" in said
        with pytest.raises(ValueError, match="8 steps are done, more than the 6"):
            module.main(replace(longer, steps=6, extend=True))
        assert json.loads((tmp_path / "config.json").read_text())["steps"] == 8

    @pytest.mark.slow
    def test_whatever_the_steps_came_of(self, base, tmp_path):
        """Epochs of the reward model; and rows of the data that were not there."""
        module, given = config(base, tmp_path / "a", "reward_model", steps=7)
        module.main(replace(given, steps=None, epochs=1))
        more = replace(given, steps=None, epochs=2, resume=True)
        with pytest.raises(ValueError, match="has 7 steps, and now should have 14"):
            module.main(more)
        module.main(replace(given, steps=7, resume=True))  # as many
        module.main(replace(more, extend=True))

    @pytest.mark.slow
    def test_iterations_of_online_methods(self, base, tmp_path, capsys):
        told = {"steps": 2, "minibatches": 2, "epochs": 2}
        module, given = config(base, tmp_path, "grpo", **told)
        module.main(given)
        longer = replace(given, steps=4, resume=True)
        with pytest.raises(ValueError, match="has 2 steps, and now should have 4"):
            module.main(longer)
        with pytest.raises(ValueError, match="epochs: 2 then, 3 now"):
            module.main(replace(longer, epochs=3, extend=True))
        module.main(replace(longer, extend=True))
        # linear, to 0: half of 3e-4 is left in the middle
        said = " ".join(capsys.readouterr().out.split())
        assert "at step 2 the learning rate jumps from 0 to 0.00015" in said


class TestFinite:
    @pytest.mark.parametrize(
        "name",
        quick.only(["ppo"], ["sft", "reward_model", "dpo", "ppo", "grpo"]),
    )
    def test_what_is_not_finite_is_never_saved(self, base, tmp_path, name):
        """The loss of the only step is finite, and the parameters after it are not."""
        told = {"steps": 1, "learning_rate": float("nan")}
        if name in ("ppo", "grpo"):
            told |= {"minibatches": 1, "epochs": 1}
        message = r"step 0.* is not finite.*there is no checkpoint yet"
        with (
            flags.defer_validation()
        ):  # a flag cannot be NaN; parameters become it otherwise
            module, given = config(base, tmp_path, name, **told)
            with pytest.raises(FloatingPointError, match=message):
                module.main(given)
        assert not list((tmp_path / "checkpoints").glob("[0-9]*"))
        for folder in ("policy", "reward", "numbers.json"):
            assert not (tmp_path / folder).exists()

    def test_the_last_step_and_the_moments_too(self, base, tmp_path, monkeypatch):
        """The checkpoint before stays, and a resumed run may still go on from it."""
        module, given = config(base, tmp_path, steps=3, save_every=1)
        checkpoint = Run.checkpoint

        def poisoned(self, loop, roles):
            if loop.step == 3:
                bad = lambda x: x * np.nan if x.dtype == np.float32 else x
                moments = jax.tree.map(bad, loop.state.opt_state)
                loop = loop._replace(state=replace(loop.state, opt_state=moments))
            checkpoint(self, loop, roles)

        message = r"step 2: \['optimizer'\].* is not finite .*checkpoint: step 2"
        with monkeypatch.context() as patch:
            patch.setattr(Run, "checkpoint", poisoned)
            with pytest.raises(FloatingPointError, match=message):
                module.main(given)
        assert not (tmp_path / "policy").exists()
        module.main(replace(given, resume=True))
        assert (tmp_path / "policy").exists()


def test_an_edited_position_names_the_checkpoint(base, tmp_path):
    """The other damages: tests/training/test_checkpoint.py."""
    module, given = config(base, tmp_path, steps=2, save_every=1)
    module.main(given)
    path = tmp_path / "checkpoints" / "2" / "data" / "metadata"
    item = json.loads(path.read_text())
    item["data"]["done"] = 10**9
    path.write_text(json.dumps(item))
    message = "checkpoints/2 is damaged .*delete that folder to continue from step 1"
    with pytest.raises(ValueError, match=message):
        module.main(replace(given, resume=True))
    assert sft is module
