"""experiments.sweep and experiments.curves, with a stub in place of the training."""

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import curves, sweep
from jaxalign.runtime import child_process, cli, run_curves, sweep_runs
from tests.support import untrained

STUB = """
import json, pathlib, sys
a = sys.argv
out = pathlib.Path(a[a.index("--out") + 1])
beta, seed = float(a[a.index("--beta") + 1]), int(a[a.index("--seed") + 1])
if beta == 0.3:
    sys.exit("error: the stub fails (JAXALIGN_TRACEBACK=1 shows where it arose)")
out.mkdir(parents=True)
(out / "numbers.json").write_text(json.dumps({"eval/accuracy": beta + seed, "n": 1}))
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Every program is the stub; gives the commands that were started."""
    started = []
    popen = child_process.subprocess.Popen

    def start(command, **others):
        if "-m" not in command:
            return popen(command, **others)
        started.append(command)
        return popen([sys.executable, "-c", STUB, *command[3:]], **others)

    monkeypatch.setattr(child_process.subprocess, "Popen", start)
    monkeypatch.setattr(
        sweep_runs, "is_done", lambda run: (run.folder / "numbers.json").exists()
    )
    return started


def config(out: Path, *settings: str, **others: object) -> sweep.Config:
    return sweep.Config(program="dpo", set=settings, out=out, **others)


def test_a_failed_run_is_named_and_the_others_go_on(tmp_path, stub):
    out = tmp_path / "sweep"
    numbers = sweep.main(config(out, "beta=0.3,0.1", seeds=2))
    error = "the stub fails"
    assert numbers["failed"] == {"beta=0.3,seed=0": error, "beta=0.3,seed=1": error}
    assert numbers["by_model"]["beta=0.1"]["eval/accuracy"].mean == pytest.approx(0.6)
    assert (out / "sweep.png").exists() and "0.600" in (out / "report.md").read_text()
    # what is done is not run again; a new value is
    del stub[:]
    sweep.main(config(out, "beta=0.1,0.2", seeds=2))
    assert [command[-2] for command in stub] == [
        str(out / "beta=0.2,seed=0"),
        str(out / "beta=0.2,seed=1"),
    ]


def test_commands_are_printed_and_nothing_is_run(tmp_path, stub, capsys):
    flags = "--model toy"
    sweep.main(config(tmp_path / "s", "beta=1", flags=flags, print_commands=True))
    assert capsys.readouterr().out == (
        "python -m experiments.dpo --model toy --beta 1 --seed 0 --out "
        f"{tmp_path}/s/beta=1,seed=0 --resume\n"
    )
    assert not stub and not (tmp_path / "s").exists()


def test_a_failed_run_is_the_end_of_the_command(tmp_path, stub, monkeypatch, capsys):
    out = tmp_path / "sweep"
    line = f"sweep dpo --set beta=0.3,0.1 --out {out} --batch 4"
    monkeypatch.setattr(sys, "argv", line.split())
    sys.argv[1:] = sweep.join_flags(sys.argv[1:])
    # what a command changes in its process stays as it is for other tests
    monkeypatch.setattr(cli.InterruptOnce, "install", lambda self: None)
    monkeypatch.setattr(cli.library_output, "silence", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.run_command(sweep.command, sweep.Config)
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert "error: 1 of 2 runs failed: beta=0.3,seed=0; the same command" in shown.err
    assert "one seed of each: no intervals" in shown.out
    report = (out / "report.md").read_text()
    assert "| beta=0.3,seed=0 | the stub fails |" in report and "± ?" in report


def test_printed_commands_run_as_they_are(tmp_path, stub, capsys):
    # a `python` that writes its arguments down stands for the cluster's
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv))"
    )
    python.chmod(0o755)
    flags = ["--model", "my 'model' $HOME", "--train", "blocks[2:]|norm", "--mesh", ""]
    settings = ("data=a b.jsonl,c;d.jsonl", "loss=dpo,ipo")
    folder = tmp_path / "a sweep"
    own = config(folder, *settings, flags=shlex.join(flags), print_commands=True)
    sweep.main(own)
    lines = capsys.readouterr().out.splitlines()
    runs = sweep.planned_runs(own, folder)
    assert len(lines) == len(runs) == 4
    for line, run in zip(lines, runs, strict=True):
        path = f"{python.parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", line], env={"PATH": path}, capture_output=True, check=True
        )
        words = json.loads(done.stdout)[1:]
        assert words == ["-m", "experiments.dpo", *run.arguments]
        assert words[2:8] == flags and words[9] in ("a b.jsonl", "c;d.jsonl")


def test_flags_may_be_in_a_file_of_the_program(tmp_path, stub):
    file = tmp_path / "base.yaml"
    file.write_text("batch: 7\nbeta: 5\nseed: 3\nmodel: toy\n")
    words = f"dpo --config {file} --set beta=0.1,0.2 --batch 8 --out {tmp_path}/s"
    parsed = cli.parse_arguments(sweep.Config, sweep.join_flags(words.split()))
    runs = sweep.planned_runs(parsed, tmp_path / "s")
    assert [run.config.beta for run in runs] == [0.1, 0.2]
    assert [(run.config.batch, run.config.seed) for run in runs] == [(8, 0)] * 2
    assert runs[0].arguments[:2] == ["--config", str(file)]
    # what the program would do itself: the toy's learning rate, and its errors
    assert runs[0].config.learning_rate == 2e-4
    file.write_text("btach: 7\n")
    message = f"flags of each run: {file}: unknown field 'btach': did you mean batch"
    with pytest.raises(ValueError, match=message):
        sweep.planned_runs(parsed, tmp_path / "s")


def test_a_sweep_comes_back_from_its_own_file(tmp_path, stub):
    first = config(
        tmp_path / "a", "beta=0.1,0.2", seeds=2, flags="--batch 4 --lora-rank 2"
    )
    sweep.main(first)
    words = ["--config", str(tmp_path / "a" / "config.yaml"), "--out", "b"]
    again = cli.parse_arguments(sweep.Config, sweep.join_flags(words))
    assert again == dataclasses.replace(first, out=Path("b"))
    # flags of the program come after those of the file, and do not replace them
    words += ["--batch", "8", "--set", "loss=dpo,cdpo"]
    again = cli.parse_arguments(sweep.Config, sweep.join_flags(words))
    (run, *_) = sweep.planned_runs(again, tmp_path / "b")
    assert (run.config.batch, run.config.lora_rank) == (8, 2)
    assert run.variant == {"beta": "0.1", "loss": "dpo"}


@pytest.mark.parametrize(
    "settings, flags, words",
    [
        (["bta=1"], "", "unknown field 'bta': did you mean beta"),
        (["beta=abc,1"], "", "--set beta=abc: expected a number"),
        (["beta=1,-1"], "", "--set beta=-1: --beta -1.0: it should be a number above"),
        (["beta"], "", "expected FIELD=VALUE"),
        (["beta=1,1"], "", "a value twice"),
        (["seed=1,2"], "", "--seeds varies it"),
        (["beta=1"], "--beta 2", "leave one of them out"),
        (["loss=simpo"], "--tau 0.1", "loss=simpo,seed=0: the loss simpo takes"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_runs(
    tmp_path, stub, settings, flags, words
):
    with pytest.raises(ValueError, match=words):
        sweep.main(config(tmp_path / "s", *settings, flags=flags))
    assert not stub and not (tmp_path / "s").exists()


def test_an_unknown_program_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown program 'dop': did you mean dpo"):
        sweep.main(sweep.Config(program="dop", out=tmp_path / "s"))


def test_flags_of_the_program_need_no_place_of_their_own():
    words = ["dpo", "--model", "a b", "--set", "beta=1", "--seeds", "2", "--no-remat"]
    assert sweep.join_flags(words) == [
        *("dpo", "--set", "beta=1", "--seeds", "2"),
        "--flags=--model 'a b' --no-remat",
    ]


def write_log(folder: Path, count: int, shift: float = 0.0) -> Path:
    folder.mkdir(parents=True)
    rows = [{"step": i, "loss": shift + 1 / (i + 1)} for i in range(count)]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "metrics.jsonl").write_text("".join(lines))
    return folder


def test_curves_of_runs_and_of_a_group(tmp_path):
    one, other = (write_log(tmp_path / name, 10, i) for i, name in enumerate("ab"))
    out = tmp_path / "out"
    group = (f"both={one},{other}",)
    numbers = curves.main(curves.Config(runs=(f"x={one}",), group=group, out=out))
    # the last of ten steps is the last tenth; shifts 0 and 1 have a mean of 0.5
    assert numbers["by_model"]["x"]["loss"] == pytest.approx(0.1)
    assert numbers["by_model"]["both"]["loss"] == pytest.approx(0.6)
    assert (out / "curves.png").exists()
    with pytest.raises(ValueError, match="has no seconds"):
        curves.main(curves.Config(runs=(str(one),), x="seconds"))
    with pytest.raises(ValueError, match="unknown metric 'los': did you mean loss"):
        curves.main(curves.Config(runs=(str(one),), metrics=("los",)))
    with pytest.raises(ValueError, match="expected the folder of a training run"):
        curves.main(curves.Config(runs=(str(tmp_path / "none"),)))


def test_folders_of_a_sweep_have_commas_and_equals_signs(tmp_path):
    first = write_log(tmp_path / "beta=1,seed=0", 5)
    second = write_log(tmp_path / "beta=1,seed=1", 5)
    group = (f"beta 1={first},{second}",)
    found = curves.named_folders(curves.Config(runs=(str(first),), group=group))
    assert found == {"beta=1,seed=0": [first], "beta 1": [first, second]}


def test_a_plot_that_fails_ends_no_run(tmp_path, capsys, monkeypatch):
    folder = write_log(tmp_path / "run", 5)
    run_curves.write_curves(folder, "dpo")
    assert (folder / "curves.png").exists()
    monkeypatch.setattr(run_curves.metrics, "read_log", lambda folder: 1 / 0)
    run_curves.write_curves(folder, "dpo")
    assert "dpo: no curves.png: division by zero" in capsys.readouterr().out


@pytest.mark.slow
def test_a_real_sweep_is_not_run_twice_and_refuses_other_flags(tmp_path):
    model = untrained.save(tmp_path / "policy")
    flags = f"--model {model} --batch 8 --eval-rows 16 --steps"
    real = config(tmp_path / "sweep", "beta=0.1", flags=f"{flags} 5")
    numbers = sweep.main(real)
    folder = tmp_path / "sweep" / "beta=0.1,seed=0"
    assert not numbers["failed"] and (folder / "curves.png").exists()
    written = (folder / "numbers.json").stat().st_mtime_ns
    again = sweep.main(real)
    assert again["by_model"]["beta=0.1"]["seeds"] == 1
    assert (folder / "numbers.json").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="--steps 5 then, 6 now"):
        sweep.main(config(tmp_path / "sweep", "beta=0.1", flags=f"{flags} 6"))
