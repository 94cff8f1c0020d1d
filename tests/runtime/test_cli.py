"""A command that fails says so in one sentence, and leaves nothing behind."""

import dataclasses
import gc
import json
import logging
import signal
import sys
import threading
import types
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import dpo, grpo, methods, rlhf, sft
from jaxalign.evaluation import report
from jaxalign.runtime import cli, config, distributed, errors, folder_cleanup, mesh
from jaxalign.runtime.run import Run
from tests.support import small_runs

FEW = ("--mesh", "data=1", "--compilation-cache", "off")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config.RunConfig):
    """Nothing."""

    batch: int = 1


@pytest.fixture
def command(monkeypatch, capfd, tmp_path):
    """Runs a program by a command line: its status, and all that it printed."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    interrupt = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.delenv("JAXALIGN_TRACEBACK", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folder_cleanup, "created_folders", [])
    levels = {name: logging.getLogger(name).level for name in ("absl", "asyncio")}
    cache = jax.config.jax_compilation_cache_dir

    def run(main, kind, *arguments):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        try:
            cli.launch(main, kind)
            status = 0
        except SystemExit as ended:
            status = ended.code
        out, err = capfd.readouterr()
        return status, out, err

    yield run
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    jax.config.update("jax_compilation_cache_dir", cache)
    signal.signal(signal.SIGINT, interrupt)


def one_sentence(err):
    assert err.count("\n") == 1 and "Traceback" not in err, err
    return err


def raising(error):
    def main(arguments):
        raise error

    return main


def test_numbers_that_cannot_be_are_refused_before_anything_is_done(command):
    started = []
    for flag, value in (("batch", "0"), ("seed", str(2**63)), ("mesh", "data=²")):
        status, _, err = command(started.append, Config, f"--{flag}", value)
        assert status == 1 and f"error: --{flag} " in one_sentence(err)
    status, _, err = command(rlhf.main, rlhf.Config, "--ppo.clip-norm", "nan")
    assert status == 1 and "error: --ppo.clip-norm nan: it should" in one_sentence(err)
    assert not started and not list(Path().iterdir())


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), IndexError("list index"), TypeError("f() takes"), AssertionError()]
    + [AttributeError("no"), StopIteration(), ZeroDivisionError("division by zero")]
    + [NotImplementedError("x"), UnboundLocalError("y"), RuntimeError("a\nb")],
    ids=lambda error: type(error).__name__,
)
def test_a_bug_says_that_it_is_one_and_where(command, error):
    status, _, err = command(raising(error), Config, *FEW)
    told = one_sentence(err)
    assert status == 1 and "error: this is a bug of jaxalign: " in told
    assert type(error).__name__ in told and "report it" in told
    assert "JAXALIGN_TRACEBACK=1" in told
    assert "at jaxalign/runtime/cli.py:" in told  # the last place of ours


def test_what_is_no_bug_says_what_to_do(command):
    oom = jax.errors.JaxRuntimeError(
        "RESOURCE_EXHAUSTED: Out of memory allocating 400 bytes.\nmore"
    )
    for error, *sentences in (
        (oom, "out of memory on the device", "--micro-batches", "--remat"),
        (MemoryError(), "out of memory at jaxalign/runtime/cli.py:", "--batch"),
        (jax.errors.JaxRuntimeError("INTERNAL: x"), "the device failed (INTERNAL: x)"),
        (RecursionError("maximum"), "nested too deep, at jaxalign/runtime/cli.py:"),
        (ModuleNotFoundError("No module named 'gcsfs'", name="gcsfs"), "pip install"),
        (FileNotFoundError(2, "No such file or directory", "a.txt"), "a.txt: No such"),
        (ValueError("a row\nis bad"), "error: a row is bad"),
        (FloatingPointError("step 3: loss is nan"), "error: step 3: loss is nan"),
        (np.linalg.LinAlgError("Singular"), "error: Singular"),
    ):
        status, _, err = command(raising(error), Config, *FEW)
        told = one_sentence(err)
        assert status == 1 and "bug of jaxalign" not in told
        for sentence in sentences:
            assert sentence in told, (error, told)
    # what libraries add about the trace, which is not shown, is left out
    filtered = ValueError("x is bad")
    filtered.add_note("-----\nJAX has removed its internal frames from the traceback")
    filtered.add_note("at step 3")
    told = one_sentence(command(raising(filtered), Config, *FEW)[2])
    assert "error: x is bad" in told and ", at step 3 (" in told
    assert "internal frames" not in told
    own = ModuleNotFoundError("No module named 'jaxalign.x'", name="jaxalign.x")
    assert "bug of jaxalign" in command(raising(own), Config, *FEW)[2]
    # a library's refusal has the place of ours that asked for it
    status, _, err = command(lambda _: json.loads("{"), Config, *FEW)
    assert status == 1 and ", at jaxalign/runtime/cli.py:" in one_sentence(err)


def test_an_interrupt_is_one_line(command):
    status, _, err = command(raising(KeyboardInterrupt()), Config, *FEW)
    assert status == 130 and one_sentence(err).startswith("interrupted")


def test_a_program_collects_garbage_though_its_imports_do_not(command):
    seen = []
    gc.disable()
    command(lambda _: seen.append(gc.isenabled()), Config, *FEW)
    assert seen == [True] and gc.isenabled()


def test_the_trace_is_shown_where_it_is_asked_for(command, monkeypatch):
    monkeypatch.setenv("JAXALIGN_TRACEBACK", "1")
    with pytest.raises(KeyError):
        command(raising(KeyError("x")), Config, *FEW)


def test_a_warning_is_a_line(command):
    def main(arguments):
        warnings.warn("the sampler\nis not the trainer", stacklevel=1)
        warnings.warn("of programmers", DeprecationWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        showing = warnings.showwarning  # which the context restores
        status, _, err = command(main, Config, *FEW)
        assert showing is not warnings.showwarning
    assert (status, err) == (0, "warning: the sampler is not the trainer\n")


FILES = ("--model", "model", "--data", "pairs.jsonl")
BAD = {
    "data that are not there": ("--data", "nowhere.jsonl"),
    "rows that are none": ("--data", "bad.jsonl"),
    "a model that is not there": ("--model", "nowhere"),
    "a folder without a model": ("--model", "empty"),
    "devices that are not there": ("--mesh", "data=4096"),
    "rows that do not divide": ("--batch", "3", "--mesh", "data=2"),
    "parts that do not divide": ("--batch", "4", "--micro-batches", "3"),
    "too long a context": ("--context", "100000", "--model", "model"),
    "nothing matches": ("--train", "nonsense", *FILES),
    "no pattern": ("--train", "(", *FILES),
    "an adapter of nothing": ("--lora-targets", "nonsense", *FILES, "--train", "lora"),
    "an adapter of no pattern": ("--lora-targets", "(", *FILES, "--train", "lora"),
    "too large an adapter": ("--lora-rank", "1000000", *FILES, "--train", "lora"),
    "a batch that repeats its rows": ("--batch", "1000000000", *FILES),
    "too short a context": ("--context", "1", *FILES),
    "no such metric": ("--keep-best", "nonsense", *FILES, "--steps", "1"),
    "a model without a name": ("--model", ""),
    "data without a name": ("--data", " "),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return small_runs.prepare(folder)


@pytest.fixture
def beside(inputs, tmp_path):
    """Bad and good inputs in the folder that commands run in."""
    (tmp_path / "bad.jsonl").write_text('{"foo": 1}\n' * 4)
    (tmp_path / "empty").mkdir()
    (tmp_path / "model").symlink_to(inputs / "policy")
    (tmp_path / "pairs.jsonl").symlink_to(inputs / "pairs.jsonl")
    return {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused_leaves_no_folder(command, beside, tmp_path, case):
    status, _, err = command(
        sft.main, sft.Config, *FEW, "--out", "runs/a/b", *BAD[case]
    )
    assert status == 1 and "bug of jaxalign" not in one_sentence(err)
    assert {path.name for path in tmp_path.iterdir()} == beside, err
    flag, value = BAD[case][:2]
    of_paths = value in ("nowhere.jsonl", "bad.jsonl", "nowhere", "empty")
    assert flag in err or (of_paths and value in err), err


@pytest.mark.parametrize("module", [rlhf, methods, dpo, grpo])
def test_what_is_refused_leaves_no_folder_of_stages(command, beside, tmp_path, module):
    told = ("--data", "bad.jsonl", "--out", "runs/a")
    status, _, err = command(module.main, module.Config, *FEW, *told)
    assert status == 1 and "bad.jsonl" in one_sentence(err)
    assert {path.name for path in tmp_path.iterdir()} == beside
    # a folder of the user's stays, and what is in it
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "notes.txt").write_text("mine")
    command(module.main, module.Config, *FEW, *told)
    assert [path.name for path in (tmp_path / "runs" / "a").rglob("*")] == ["notes.txt"]


def test_a_python_caller_is_left_no_folder_either(tmp_path, inputs):
    with pytest.raises(ValueError, match="--batch 3"):
        sft.main(sft.Config(out=tmp_path / "a" / "b", batch=3, mesh="data=2"))
    assert not list(tmp_path.iterdir())


def test_out_that_is_no_folder_is_refused(command, tmp_path):
    (tmp_path / "file").write_text("")
    for out in ("file", "file/below", "x" * 300):
        status, _, err = command(sft.main, sft.Config, *FEW, "--out", out)
        assert status == 1
        assert out in one_sentence(err) and ("too long" in err or "cannot write" in err)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_names_are_never_markup(command, beside, tmp_path, capfd):
    out = "run[/b] :smile: {x}%20#*é[red]"
    told = ("--model", "model", "--data", "pairs.jsonl", "--steps", "2", "--batch", "2")
    status, said, err = command(sft.main, sft.Config, *FEW, *told, "--out", out)
    assert (status, err) == (0, "")
    assert f"-> {out}\n" in said and "compiling the first step ..." in said
    assert (tmp_path / out / "numbers.json").exists()
    distributed.print_line("[/b] \udcff")
    report.print_table([{"[/b]": "[red]x[/red]", "y": 1.0}], title="of [/b] data")
    shown = capfd.readouterr().out
    assert "[/b] \\udcff" in shown and "[red]x[/red]" in shown
    assert "of [/b] data" in shown


def test_an_error_in_the_loop_names_the_step(tmp_path, monkeypatch):
    def log(self, step, *told, **others):
        if step == 1:
            raise KeyError("x")

    folder = small_runs.prepare(tmp_path / "inputs")
    monkeypatch.setattr(Run, "log", log)
    inputs = {"model": str(folder / "policy"), "data": str(folder / "pairs.jsonl")}
    few = {"steps": 3, "batch": 2, "mesh": "data=1", "out": tmp_path / "run"}
    with pytest.raises(KeyError) as told:
        sft.main(sft.Config(**inputs, **few))
    assert ", at step 1: " in errors.error_message(told.value)


def test_the_mesh_says_how_to_get_devices():
    wanted = 2 * jax.device_count()
    with pytest.raises(ValueError) as told:
        mesh.mesh_of(Config(mesh=f"data={wanted}"))
    assert str(told.value).startswith(f"--mesh data={wanted}: ")
    assert f"JAX_NUM_CPU_DEVICES={wanted}" in str(told.value)


@pytest.mark.parametrize(
    "module, command",
    [
        ("experiments.sft", "python -m experiments.sft"),
        ("experiments.speed.__main__", "python -m experiments.speed"),
    ],
)
def test_help_names_the_command_as_it_is_typed(module, command, monkeypatch):
    spec = types.SimpleNamespace(name=module)
    main = types.SimpleNamespace(__spec__=spec)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert cli.program_name() == command
    main.__spec__ = None  # a script, not a module
    assert cli.program_name() is None
