"""Names of TRL's settings, and the flags that stand for them here.

A command line with such a name is refused with this project's flag in the message.
docs/coming_from_trl.md has all fields of TRL's configurations, with differences.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxalign.runtime import flags

PAGE = "docs/coming_from_trl.md"


class Counterpart(NamedTuple):
    """What stands for a setting of TRL's.

    Attributes:
      names: fields of this project's configurations, of which a program has one or
        none, separated by spaces.
      note: how it differs, or why there is none.
    """

    names: str
    note: str = ""


COUNTERPARTS = {
    "model_name_or_path": Counterpart("model"),
    "dataset_name": Counterpart("data"),
    "output_dir": Counterpart("out"),
    "per_device_train_batch_size": Counterpart("batch prompts", "over all devices"),
    "gradient_accumulation_steps": Counterpart(
        "micro_batches", "into which the whole --batch is cut"
    ),
    "num_train_epochs": Counterpart(
        "epochs", "passes over the data; an online method has --steps, in iterations"
    ),
    "max_steps": Counterpart("steps"),
    "lr_scheduler_type": Counterpart("schedule", "of offline methods always cosine"),
    "warmup_ratio": Counterpart("warmup"),
    "warmup_steps": Counterpart("warmup", "a share of the steps in offline methods"),
    "max_grad_norm": Counterpart("clip_norm"),
    "bf16": Counterpart("dtype", "bfloat16"),
    "gradient_checkpointing": Counterpart("remat", "full"),
    "max_length": Counterpart("context", "longer rows are dropped, or --overlong"),
    "logging_steps": Counterpart("", "every step is logged"),
    "report_to": Counterpart("log"),
    "eval_strategy": Counterpart("eval_every", "in steps"),
    "eval_steps": Counterpart("eval_every"),
    "save_steps": Counterpart("save_every"),
    "save_total_limit": Counterpart("keep"),
    "load_best_model_at_end": Counterpart("export_best"),
    "metric_for_best_model": Counterpart("keep_best"),
    "resume_from_checkpoint": Counterpart("resume"),
    "use_peft": Counterpart("train", "lora"),
    "lora_r": Counterpart("lora_rank"),
    "lora_target_modules": Counterpart("lora_targets"),
    "lora_dropout": Counterpart("", "adapters have no dropout"),
    "load_in_4bit": Counterpart("frozen", "nf4, with --train lora"),
    "load_in_8bit": Counterpart("frozen", "int8, with --train lora"),
    "packing": Counterpart("", "rows are packed wherever the result is the same"),
    "assistant_only_loss": Counterpart("all_turns"),
    "center_rewards_coefficient": Counterpart("center"),
    "loss_type": Counterpart("loss method", "TRL's names of pairwise losses work"),
    "precompute_ref_log_probs": Counterpart("", "computed once, and kept, always"),
    "sync_ref_model": Counterpart("", "the reference is that of the run's start"),
    "num_generations": Counterpart("samples"),
    "max_completion_length": Counterpart("max_new_tokens"),
    "num_iterations": Counterpart("epochs"),
    "epsilon": Counterpart("", "the clip range is that of --method"),
    "epsilon_high": Counterpart("", "the clip range is that of --method"),
    "scale_rewards": Counterpart("method", "dr_grpo does not scale"),
    "reward_funcs": Counterpart("reward"),
    "reward_weights": Counterpart("reward", "NAME=WEIGHT,..."),
    "reward_model_path": Counterpart("reward"),
    "log_completions": Counterpart("show_samples_every"),
    "num_completions_to_print": Counterpart("sample_rows"),
    "use_vllm": Counterpart("", "answers are sampled by JAX, in the same process"),
    "sft_model_path": Counterpart("model"),
    "response_length": Counterpart("max_new_tokens"),
    "total_episodes": Counterpart("steps", "answers / --batch"),
    "num_ppo_epochs": Counterpart("epochs"),
    "num_mini_batches": Counterpart("minibatches"),
    "kl_coef": Counterpart("beta"),
    "cliprange": Counterpart("clip"),
    "cliprange_value": Counterpart("value_clip"),
    "vf_coef": Counterpart("value_learning_rate", "the value model is its own"),
}


def refuse(config: type, arguments: Sequence[str]) -> None:
    """Refuses names of TRL's that are no flags of a program.

    Args:
      config: the program's configuration.
      arguments: the words of its command line.

    Raises:
      ValueError: names the flag of this project, or says why there is none.
    """
    for word in arguments:
        if not word.startswith("--"):
            continue
        typed = word.partition("=")[0]
        *stages, name = typed[2:].replace("-", "_").split(".")
        own = stage_config(config, stages)
        if own is None or name in flags.field_types(own):
            continue
        if (counterpart := COUNTERPARTS.get(name)) is not None:
            raise ValueError(refusal(typed, own, stages, counterpart))


def stage_config(config: type, stages: Sequence[str]) -> Any:
    """The configuration of a stage of a stage ...; None if there is none."""
    own: Any = config
    for name in stages:
        kinds = flags.field_types(own).get(name, ())
        own = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
        if own is None:
            return None
    return own


def refusal(
    typed: str, config: Any, stages: Sequence[str], counterpart: Counterpart
) -> str:
    """The sentence that refuses a name of TRL's.

    Args:
      config: the configuration that lacks it.
      stages: of the pipeline, to that configuration.
    """
    known = flags.field_types(config)
    names = [name for name in counterpart.names.split() if name in known]
    note = counterpart.note
    if names:
        flag = "--" + ".".join([*stages, names[0]]).replace("_", "-")
        here = f"here it is {flag}" + (f" ({note})" if note else "")
    elif note and not counterpart.names:
        here = f"there is no such flag here: {note}"
    else:
        here = "this program has no such flag"
    return f"{typed} is a name of TRL's: {here}; {PAGE} has all of them"
