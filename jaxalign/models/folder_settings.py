"""Settings of a Hugging Face folder that a model trained from it keeps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign import json_files
from jaxalign.json_files import (
    BOOL,
    INDEX,
    INTEGER,
    NOT_NEGATIVE,
    NULL,
    NUMBER,
    POSITIVE,
    TEXT,
    list_of,
)

GENERATION = "generation_config.json"
IDS = list_of(INDEX)
FIELDS = {
    "eos_token_id": INDEX | IDS | NULL,
    **dict.fromkeys(("bos_token_id", "pad_token_id"), INTEGER | NULL),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), IDS | NULL),
    **dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id"), INDEX | IDS | NULL),
    **dict.fromkeys(("do_sample", "use_cache", "renormalize_logits"), BOOL | NULL),
    **dict.fromkeys(
        ("max_length", "max_new_tokens", "min_length", "min_new_tokens", "top_k")
        + ("num_beams", "num_return_sequences", "no_repeat_ngram_size"),
        INDEX | NULL,
    ),
    **dict.fromkeys(
        ("temperature", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
        NOT_NEGATIVE | NULL,
    ),
    "repetition_penalty": POSITIVE | NULL,
    "length_penalty": NUMBER | NULL,
    "stop_strings": TEXT | list_of(TEXT) | NULL,
    "cache_implementation": TEXT | NULL,
    "transformers_version": TEXT | NULL,
}


class FolderSettings(NamedTuple):
    """Settings of a folder beside the architecture and the parameters.

    Attributes:
      dtype: of the tensors, bfloat16 or (for any other) float32.
      generation: fields of generation_config.json.
      stop_tokens: ids of tokens that end an answer, from generation_config.json, or
        config.json where that has none.
    """

    dtype: str = "float32"
    generation: Mapping[str, Any] = {}
    stop_tokens: tuple[int, ...] = ()


def read(folder: Path, config_json: Mapping[str, Any], dtype: str) -> FolderSettings:
    """Read the settings of a folder.

    Args:
      config_json: content of its config.json.
      dtype: of its tensors.

    Raises:
      ValueError: a field of the wrong type; names the file and the field.
    """
    path = folder / GENERATION
    generation = json_files.read_object(path) if path.exists() else {}
    json_files.check_fields(generation, FIELDS, str(path))
    json_files.check_fields(
        config_json, {"eos_token_id": FIELDS["eos_token_id"]}, f"{folder}/config.json"
    )
    stop = generation.get("eos_token_id", config_json.get("eos_token_id"))
    stops = stop if isinstance(stop, list) else [] if stop is None else [stop]
    # a mark of settings that transformers derived from config.json, and would derive
    # again in place of these
    generation = {k: x for k, x in generation.items() if k != "_from_model_config"}
    return FolderSettings(
        "bfloat16" if dtype == "bfloat16" else "float32",
        generation,
        tuple(dict.fromkeys(stops)),
    )
