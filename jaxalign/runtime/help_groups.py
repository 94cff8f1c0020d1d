"""The titles under which --help shows flags; a name has one meaning everywhere."""

import dataclasses
from typing import Any

GROUPS: dict[str, str] = {
    "run": "out seed resume extend smoke seeds log config",
    "model": "model teacher teacher_dtype context dtype remat train lora_rank "
    "lora_alpha lora_targets frozen save_dtype",
    "data": "data data_path token_cache liked held_out held_out_seed held_out_data "
    "keep_special_tokens template_date overlong skip_bad_rows max_row_chars",
    "optimization": "steps epochs batch micro_batches minibatches learning_rate "
    "value_learning_rate schedule warmup value_warmup weight_decay clip_norm "
    "skip_nonfinite",
    "rewards": "reward ensemble missing_eos missing_eos_penalty",
    "sampling": "temperature max_new_tokens slots top_p top_k logp_gap",
    "evaluation": "eval_every eval_rows eval_prompts eval_temperature patience "
    "export_best split_by",
    "checkpoints": "save_every keep keep_best",
    "machine": "mesh compilation_cache debug_nans stall_after",
}
TITLE_BY_NAME = {
    name: title for title, names in GROUPS.items() for name in names.split()
}
PROGRAM = "this program"  # flags that are in no group
STAGES = "stages (--help-STAGE lists the flags of one)"  # inner configurations
ORDER = {name: i for i, name in enumerate(TITLE_BY_NAME, 1)}


def position(field: dataclasses.Field[Any]) -> int:
    """The place of a field in its group; 0, the order of the class, without a group."""
    return ORDER.get(field.name, 0)
