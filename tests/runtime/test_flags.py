"""Every number that a flag may be is declared, and all others are refused by name."""

import dataclasses
import importlib
import math
import pkgutil
from pathlib import Path

import pytest

import experiments
from experiments import dpo, plan, ppo, rlhf, sft
from jaxalign.runtime import flags
from jaxalign.runtime.config import RunConfig

WRONG = (-1, 0, math.nan, math.inf, -math.inf, 2**63, True, "1", 0.5, 10**400)


def configurations():
    """Every configuration of every module of the experiments, by its name."""
    found = {}
    for module in pkgutil.walk_packages(experiments.__path__, "experiments."):
        for kind in vars(importlib.import_module(module.name)).values():
            if isinstance(kind, type) and issubclass(kind, flags.ValidatedConfig):
                if dataclasses.is_dataclass(kind):
                    found[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return found


CONFIGS = configurations()


def made(kind, **values):
    """A configuration with what has no default."""
    needed = {
        field.name: "programmed"
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory is dataclasses.MISSING
    }
    return kind(**(needed | values))


def test_every_experiment_has_a_checked_configuration():
    modules = {name.rpartition(".")[0] for name in CONFIGS}
    for module in pkgutil.walk_packages(experiments.__path__, "experiments."):
        text = Path(importlib.import_module(module.name).__file__).read_text()
        if '__name__ == "__main__"' in text and (
            "launch(" in text or "run_command(" in text
        ):
            where = importlib.import_module(module.name).Config.__module__
            assert where in modules, module.name
            assert "tyro.cli" not in text, module.name


@pytest.mark.parametrize("name", CONFIGS)
def test_every_number_is_within_its_declared_range_or_refused_by_name(name):
    kind = CONFIGS[name]
    for field, kinds in flags.field_types(kind).items():
        span = flags.range_of(kind, field)  # or LookupError: declare one
        if span is None:
            continue
        whole = float not in kinds
        several = isinstance(getattr(made(kind), field), tuple)
        for value in WRONG:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            right = number and not (whole and isinstance(value, float))
            right = right and span.contains(value) and (whole or value != 10**400)
            given = {field: (value,) if several else value}
            if right:
                made(kind, **given)
                continue
            flag = f"--{field}".replace("_", "-")
            with pytest.raises(ValueError, match=f"^{flag} "):
                made(kind, **given)
        # no range admits what is no number at all, nor a count without end
        assert not span.contains(math.nan) and not span.contains(-math.inf)
        assert not whole or not span.contains(2**63)


REFUSED = {
    "batch": (0, -1),
    "micro_batches": (0, -2),
    "warmup": (math.inf, -1, 2, math.nan),
    "seed": (2**63, 2**32, -1),
    "context": (0,),
    "keep": (0,),
    "save_every": (0,),
    "steps": (-1, -3),
    "learning_rate": (math.nan, -1, math.inf),
    "beta": (0, -0.1, math.nan),
    "clip_norm": (0, -1, math.nan),
    "label_smoothing": (0.5, 1.5, -0.1),
    "held_out": (-0.1, 1, 1.1, math.nan),
    "lora_rank": (0,),
    "stall_after": (-1, math.nan),
    "mesh": ("data=²", "data=0", "data=-1", "data", "model=2", "data=2,data=2", ",")
    + ("data=2,,fsdp=2", "data=" + "9" * 30, "data=1.5", "=2"),
    "dtype": ("float16",),
    "remat": ("some",),
    **dict.fromkeys(("model", "data", "data_path", "train", "lora_targets"), ("", " ")),
}


@pytest.mark.parametrize("field", REFUSED)
def test_values_that_cannot_be_are_refused(field):
    for value in REFUSED[field]:
        with pytest.raises(ValueError, match=f"^--{field.replace('_', '-')} "):
            dpo.Config(**{field: value})


def test_values_that_may_be_are_taken():
    dpo.Config(clip_norm=math.inf, seed=2**32 - 1, warmup=1, held_out=0, steps=None)
    dpo.Config(mesh="data=2, fsdp=4", stall_after=0, learning_rate=0)
    ppo.Config(value_clip=math.inf, warmup=3, beta=0, gamma=1)
    assert flags.parse_mesh("data=2,fsdp=4") == {"data": 2, "fsdp": 4}


def test_names_that_mean_another_thing_have_another_range():
    for field in ("gamma", "lam"):
        with pytest.raises(ValueError, match=f"--{field} 1.5: .* from 0 to 1"):
            ppo.Config(**{field: 1.5})
        dpo.Config(**{field: 1.5})
    with pytest.raises(ValueError, match="--temperature 0: .* above 0"):
        ppo.Config(temperature=0)


def test_inner_flags_are_checked_by_their_whole_names():
    with flags.defer_validation():
        wrong = rlhf.Config(dpo=dpo.Config(batch=0))
    with pytest.raises(ValueError, match="^--dpo.batch 0: "):
        flags.validate(wrong)
    with pytest.raises(ValueError, match="^--batch 0: "):  # in Python at once
        dpo.Config(batch=0)


def test_paths_may_be_text():
    assert sft.Config(out="runs/x").out == Path("runs/x")
    assert plan.Config(out="plan.json").out == Path("plan.json")
    assert RunConfig(token_cache="kept").token_cache == Path("kept")
    assert dataclasses.replace(sft.Config(), out="y").out == Path("y")
    with pytest.raises(ValueError, match="--out .* is not UTF-8"):
        sft.Config(out="run\udcff")
