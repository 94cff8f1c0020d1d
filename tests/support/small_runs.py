"""Small runs of the experiments in processes of their own, for tests that kill them.

    python tests/support/small_runs.py BASE OUT NAME [KEY=VALUE ...]

runs the experiment NAME (a name of `experiment_config`, or several with commas;
NAME:FOLDER for another folder than OUT/NAME) on the small model and data that `prepare`
wrote to BASE. JAXALIGN_DISTRIBUTED works as in any run. FAIL_AT: see `fail_at`.
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import types
from pathlib import Path

import jax
import numpy as np

from jaxalign.pipeline import model_folders

ROOT = Path(__file__).parents[2]
WORDS = "red blue green one two three cat dog sun moon".split()


def prepare(base: Path) -> Path:
    """Writes a tokenizer, a model of 1 layer, a reward model, and data.

    The data are 64 pairs, their answers as unpaired ones in the same order as KTO has
    them (first all that are chosen), and 40 sums.
    """
    from jaxalign.models import config, heads, transformer
    from jaxalign.pipeline import datasets, policies
    from jaxalign.runtime.config import RunConfig

    rng = np.random.default_rng(0)
    say = lambda low, high: " ".join(rng.choice(WORDS, rng.integers(low, high)))
    asked = [f"{i} {say(1, 6)}" for i in range(64)]
    pairs = [{"prompt": p, "chosen": say(1, 5), "rejected": say(1, 7)} for p in asked]
    base.mkdir(parents=True, exist_ok=True)
    file = base / "pairs.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    single = [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for side in ("chosen", "rejected")
        for pair in pairs
    ]
    (base / "unpaired.jsonl").write_text("\n".join(map(json.dumps, single)) + "\n")
    sums = [
        {"question": f"{i} {say(1, 4)}", "answer": f"so #### {i}"} for i in range(40)
    ]
    (base / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums))
    told = RunConfig(data=str(file), context=64)
    tokenizer, _ = policies.tokenizer_of(told, datasets.load(told))
    shape = config.ModelConfig(
        vocab_size=len(tokenizer),
        width=16,
        hidden=32,
        layers=1,
        heads=2,
        kv_heads=2,
        head_dim=8,
        context=64,
        rope_theta=1e4,
        tied=True,
        origin="toy",
    )
    model, scalar = transformer.language_model(shape), heads.scalar_model(shape)
    policy = policies.Policy(model, model.init(jax.random.key(0)), tokenizer, 64)
    model_folders.save(base / "policy", policy)
    reward = scalar.init(jax.random.key(1))
    model_folders.save_scalar(base / "reward", scalar, reward, tokenizer)
    return base


def teacher(base: Path) -> Path:
    """The folder of a wider and deeper model with the tokenizer of `prepare`'s."""
    from jaxalign.models import transformer
    from jaxalign.pipeline import text_models

    folder = base / "teacher"
    if not folder.exists():
        policy = text_models.load(base / "policy").policy
        shape = dataclasses.replace(policy.config, width=24, layers=2)
        model = transformer.language_model(shape)
        params = model.init(jax.random.key(2))
        wide = dataclasses.replace(policy, model=model, params=params)
        model_folders.save(folder, wide)
    return folder


def experiment_config(base: Path, out: Path, name: str, told: list[str]):  # type: ignore[no-untyped-def]
    """The module of an experiment and its configuration, with KEY=VALUE overrides."""
    from experiments import (
        collect,
        distill,
        dpo,
        grpo,
        kto,
        online_dpo,
        ppo,
        rejection_sampling,
        reward_model,
        rlhf,
        rounds,
        sft,
    )
    from jaxalign.runtime import flags
    from jaxalign.runtime.config import RunConfig

    if name == "meetings":
        return types.SimpleNamespace(main=barrier_loop), RunConfig(out=out)
    model = {"model": str(base / "policy"), "out": out}
    shared = model | {"data": str(base / "pairs.jsonl")}
    trained = shared | {"batch": 8, "steps": 4, "save_every": 1}
    sampled = {"max_new_tokens": 4, "reward": str(base / "reward")}
    online = shared | sampled | {"steps": 4, "save_every": 1, "minibatches": 2}
    sums = {"data": "gsm8k", "data_path": str(base / "sums.jsonl")}
    few = {"prompts": 8, "held_out_prompts": 4, "samples": 2, "max_new_tokens": 4}
    config = {
        "sft": lambda: sft.Config(**trained),
        "dpo": lambda: dpo.Config(**trained),
        "dpo_cached": lambda: dpo.Config(**trained, token_cache=base / "cache"),
        "kto": lambda: kto.Config(
            **trained | {"data": str(base / "unpaired.jsonl"), "batch": 7}
        ),
        "sft_lora": lambda: sft.Config(**trained, train="lora"),
        "reward_model": lambda: reward_model.Config(**trained),
        "ppo": lambda: ppo.Config(**online, batch=8, kl_target=1.0),
        "grpo": lambda: grpo.Config(**online, prompts=4, samples=2),
        "online_dpo": lambda: online_dpo.Config(**online, prompts=4),
        "distill": lambda: distill.Config(
            **trained, teacher=str(teacher(base)), max_new_tokens=4
        ),
        "collect": lambda: collect.Config(**model, **sums, **few),
        "rlhf": lambda: pipeline_config(rlhf, **model, **sums, few=few),
        "rejection_sampling": lambda: rounds_config(
            rejection_sampling, **model, **sums, reward="programmed"
        ),
        "rounds": lambda: rounds_config(rounds, **model, **sums, few=few),
    }[name]()
    given = dict(x.split("=", 1) for x in told)
    kinds = {n: k[0] for n, k in flags.field_types(type(config)).items() if n in given}
    read = {
        n: given[n] == "True"
        if k is bool
        else k(given[n])
        if isinstance(k, type)
        else given[n]
        for n, k in kinds.items()
    }
    module = sys.modules[type(config).__module__.replace("_config", "")]
    return module, dataclasses.replace(config, **read)


def barrier_loop(config) -> None:  # type: ignore[no-untyped-def]
    """No experiment: an endless loop of barriers."""
    from jaxalign.runtime import distributed

    while True:
        distributed.barrier("again")
        config.out.touch()


def pipeline_config(rlhf, *, few, **told):  # type: ignore[no-untyped-def]
    """The configuration of rlhf with one step a stage, for a context of 64 tokens."""
    small = dataclasses.replace
    made = rlhf.smoke_config(rlhf.Config(**told))
    return small(
        made,
        sft=small(made.sft, steps=1),
        collect=small(made.collect, **few),
        ppo=small(made.ppo, max_new_tokens=4, steps=1),
        eval_prompts=4,
    )


def rounds_config(module, *, few=None, **told):  # type: ignore[no-untyped-def]
    """Two rounds of few steps, with enough samples for a winner that has an end."""
    from experiments import winners

    small = dataclasses.replace
    made = module.Config(
        rounds=2,
        eval_prompts=4,
        winners=winners.Config(
            prompts=8, held_out_prompts=8, samples=32, max_new_tokens=32
        ),
        **told,
    )
    brief = {"steps": 2, "batch": 4, "save_every": 1}
    made = small(made, finetune=small(made.finetune, **brief))
    if few is None:
        return made
    stages = {
        n: small(getattr(made, n), **brief) for n in ("sft", "reward_model", "dpo")
    }
    return small(made, collect=small(made.collect, **few), **stages)


def command_line(base: Path, out: Path, name: str, **told: object) -> list[str]:
    """The command line of a run."""
    pairs = [f"{key}={value}" for key, value in told.items()]
    return [sys.executable, str(Path(__file__)), str(base), str(out), name, *pairs]


def environment(base: Path, **more: str) -> dict[str, str]:
    """The environment of a run, with a compilation cache in BASE."""
    kept = {"JAX_COMPILATION_CACHE_DIR": str(base / "compiled")}
    kept |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "PYTHONPATH": str(ROOT)}
    kept |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    return {**os.environ, **kept, **more}


def start_processes(line: list[str], processes: int, base: Path, **more: str):  # type: ignore[no-untyped-def]
    """Starts the processes of one run, each with one device of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    spread = lambda i: {"JAXALIGN_DISTRIBUTED": f"{address},{processes},{i}"}
    return [
        subprocess.Popen(
            line,
            env=environment(
                base,
                **(spread(i) if processes > 1 else {}),
                **more,
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(processes)
    ]


def fail_at(place: str) -> None:
    """Raises a ValueError in one process: PROCESS,STEP, or PROCESS, at once."""
    from jaxalign.runtime.run import Run

    process, _, step = place.partition(",")
    if not process or jax.process_index() != int(process):
        return
    if not step:
        raise ValueError("this process alone fails")
    log = Run.log

    def fail(self, at, **others):  # type: ignore[no-untyped-def]
        if at == int(step):
            raise ValueError("this process alone fails")
        log(self, at, **others)

    Run.log = fail


if __name__ == "__main__":
    import tyro

    from jaxalign.runtime.cli import launch
    from jaxalign.runtime.config import RunConfig

    base, out = map(Path, sys.argv[1:3])
    folders = [name.split(":") for name in sys.argv[3].split(",")]
    runs = [
        experiment_config(base, out / folder[-1], folder[0], sys.argv[4:])
        for folder in folders
    ]
    tyro.cli = lambda config, **_: runs[-1][1]

    def main(_: RunConfig) -> None:
        fail_at(os.environ.get("FAIL_AT", ""))
        for module, config in runs:
            module.main(config)

    launch(main, RunConfig)
