"""How an experiment runs its stages: each once, and what was begun goes on."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pytest

from experiments import methods, rejection_sampling, rlhf, rounds, sft
from jaxalign import types
from jaxalign.runtime import run_settings
from jaxalign.runtime.stages import begin_pipeline, digest, stage_runner

replace = dataclasses.replace


def made(folder, config):
    """Leaves what a stage of these flags leaves that has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = run_settings.to_json(config)
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "numbers.json").write_text(json.dumps({}))


def test_stages_that_ended_are_left_alone_and_what_began_goes_on(tmp_path):
    """`resume` is told to a stage only where a folder of checkpoints says it began."""
    told = []

    def run(config):
        told.append((config.out.name, config.resume, config.steps, config.seed))
        if config.out.name == "ended":
            made(config.out, config)

    config = rounds.Config(seed=3, sft=sft.Config(steps=7))
    stage_runner(config, tmp_path)("ended", run, flags="sft")
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    told.clear()
    for resume in (True, False):
        stage = stage_runner(replace(config, resume=resume), tmp_path)
        for name in ("new", "begun", "ended"):
            stage(name, run, flags="sft")
    assert told == [
        ("new", False, 7, 3),
        ("begun", True, 7, 3),
        *((name, False, 7, 3) for name in ("new", "begun", "ended")),
    ]


class TestFinishedStages:
    """Whether a stage that has ended is what the flags are now."""

    CONFIG = rounds.Config(seed=3, sft=sft.Config(steps=7))

    def again(self, out, config, **others):
        """Resumes; whether the stage was run, and with which flags."""
        ran = []

        def run(config):
            ran.append(config)
            made(config.out, config)

        stage_runner(config, out)("sft", run, **others)
        return ran

    @pytest.fixture
    def out(self, tmp_path):
        policy = tmp_path / "base" / "policy"
        policy.mkdir(parents=True)
        (tmp_path / "base" / "numbers.json").write_text("1")
        (policy / "config.json").write_text(json.dumps({types.ORIGIN_KEY: "toy"}))
        assert self.again(tmp_path, self.CONFIG, model=str(policy))
        return tmp_path

    def resumed(self, out, config=CONFIG, **stage):
        changed = replace(config, resume=True, sft=replace(config.sft, **stage))
        return self.again(out, changed, model=str(out / "base" / "policy"))

    @pytest.mark.parametrize(
        "flag, then, now",
        [
            ("learning_rate", 2e-3, 1e-3),
            ("batch", 16, 8),
            ("train", "full", "lora"),
            ("all_turns", False, True),
            ("steps", 7, 8),
        ],
    )
    def test_other_flags_are_refused_by_name(self, out, flag, then, now):
        flags = f"--{flag.replace('_', '-')} {then!r} then, {now!r} now"
        with pytest.raises(ValueError) as caught:
            self.resumed(out, **{flag: now})
        said = str(caught.value)
        assert said.startswith(f"{out / 'sft'} was made with other flags ({flags})")
        assert "\n" not in said

    def test_those_that_all_stages_share(self, out):
        for changed in ({"seed": 4}, {"context": 64}, {"dtype": "bfloat16"}):
            (name,) = changed
            with pytest.raises(ValueError, match=f"sft was made with .*--{name} "):
                self.resumed(out, replace(self.CONFIG, **changed))

    def test_another_model(self, out):
        changed = replace(self.CONFIG, resume=True)
        with pytest.raises(ValueError, match="--model .*policy' then, 'toy' now"):
            self.again(out, changed, model="toy")

    def test_what_changes_nothing_is_free(self, out):
        assert not self.resumed(out, save_every=3, keep=9, stall_after=1.0)
        assert not self.resumed(out, replace(self.CONFIG, mesh="data=2"))

    def test_a_folder_that_was_moved(self, out, tmp_path):
        moved = tmp_path / "moved"
        for name in ("sft", "base"):
            shutil.copytree(out / name, moved / name)
        assert not self.resumed(moved)

    def test_extended_only_if_told(self, out):
        (ran,) = self.resumed(out, steps=8, extend=True)
        assert (ran.steps, ran.extend) == (8, True)
        (ran,) = self.resumed(out, replace(self.CONFIG, extend=True), steps=9)
        assert (ran.steps, ran.extend) == (9, True)
        assert not self.resumed(out, steps=9, extend=True)
        with pytest.raises(ValueError, match="--batch 16 then, 8 now"):
            self.resumed(out, steps=10, extend=True, batch=8)

    @pytest.mark.parametrize("text", [None, "{", "[]", "\x00"])
    def test_flags_that_cannot_be_read(self, out, text):
        path = out / "sft" / "config.json"
        path.unlink() if text is None else path.write_text(text)
        with pytest.raises(ValueError, match="config.json .*make it again"):
            self.resumed(out)

    @pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
    def test_a_damaged_list_of_what_it_was_made_from(self, out, text):
        (out / "sft" / "inputs.json").write_text(text)
        with pytest.raises(ValueError, match="inputs.json .*make it again") as caught:
            self.resumed(out)
        assert "\n" not in str(caught.value)

    def test_what_it_was_made_from(self, out):
        """The policy that it began from was trained anew, to other numbers."""
        (out / "base" / "numbers.json").write_text("2")
        with pytest.raises(ValueError, match="sft was made from another --model than"):
            self.resumed(out)


@pytest.mark.parametrize(
    "config, flag, grows",
    [
        (rlhf.Config(), {"ppo_reward": "programmed"}, {"seeds": 3, "best_of": 4}),
        (rlhf.Config(), {"dtype": "bfloat16"}, {"eval_temperature": 0.5}),
        (methods.Config(), {"seed": 1}, {"methods": ("ppo",), "eval_prompts": 8}),
        (rounds.Config(), {"dpo_data": "all"}, {"rounds": 7, "eval_temperature": 1.2}),
        (
            rejection_sampling.Config(rounds=1, temperatures=(1.0,)),
            {"sft_data": "newest"},
            {"rounds": 2, "temperatures": (1.0, 0.8), "eval_prompts": 9},
        ),
    ],
)
def test_the_flags_of_the_whole(tmp_path, monkeypatch, config, flag, grows):
    """By their own names, before anything runs; stages' flags wait for the stage."""
    module = sys.modules[type(config).__module__]
    names = ("run_pipeline", "run_methods", "run_rounds")
    (run_pipeline,) = [vars(module)[name] for name in names if hasattr(module, name)]

    class Began(Exception):
        pass

    def first(*_, **__):
        raise Began

    for name in ("run_first_stages", "finetune_on_winners", "stage_runner"):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, first)
    monkeypatch.setattr(module.datasets, "load", first)

    def run(**changed):
        with pytest.raises(Began):
            run_pipeline(replace(config, out=tmp_path, **changed), tmp_path)

    run()
    stage = "finetune" if hasattr(config, "finetune") else "sft"
    other = {stage: sft.Config(batch=3)}
    run(resume=True, **grows, **other)
    (name,) = flag
    message = f"{tmp_path} was made with other flags .--{name.replace('_', '-')} "
    with pytest.raises(ValueError, match=message):
        run(resume=True, **flag)
    run(resume=True)
    run(**flag)


def test_a_run_of_many_stages_keeps_its_flags(tmp_path):
    begin_pipeline(rlhf.Config(seed=2), tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "config.json").read_text())
    assert kept["seed"] == 2 and "sft" not in kept


@pytest.mark.parametrize("config", [rlhf.Config(), methods.Config(), rounds.Config()])
def test_a_start_in_a_folder_that_holds_a_run_leaves_its_flags(tmp_path, config):
    """Or --resume with the flags that it was made with would be refused."""
    begin_pipeline(replace(config, dtype="bfloat16"), tmp_path)
    (tmp_path / "sft" / "checkpoints" / "7").mkdir(parents=True)
    with pytest.raises(ValueError, match="already holds a run: add --resume"):
        begin_pipeline(config, tmp_path)
    begin_pipeline(replace(config, dtype="bfloat16", resume=True), tmp_path)


def test_only_what_a_stage_made_has_a_digest(tmp_path, monkeypatch):
    """`--data toy` is a name, whatever numbers lie in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers.json").write_text("{}")
    assert digest(Path("toy")) is None
    (tmp_path / "policy").mkdir()
    assert digest(Path("policy")) is not None


@pytest.mark.parametrize("main", [rlhf.main, methods.main])
def test_nothing_held_out_is_said_before_anything_is_trained(tmp_path, main):
    rows = [{"prompt": f"q{i}", "chosen": "a", "rejected": "b"} for i in range(40)]
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    config = {rlhf.main: rlhf.Config, methods.main: methods.Config}[main]
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="no rows are held out"):
        main(config(data=str(data), held_out=0.0, out=out, mesh="data=1"))
    assert not (out / "sft").exists()
