"""What a folder says besides its parameters, which a model trained from it keeps."""

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
from jaxalign.models import hf_files

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
    """What a folder says besides its parameters.

    Attributes:
      dtype: what its parameters are kept in, bfloat16 or (any other) float32.
      generation: what its generation_config.json says.
      stop_tokens: that end an answer, by generation_config.json or else config.json.
    """

    dtype: str = "float32"
    generation: Mapping[str, Any] = {}
    stop_tokens: tuple[int, ...] = ()


def read(folder: Path) -> FolderSettings:
    """What a folder says.

    Raises:
      FileNotFoundError: no model is there.
      ValueError: a field of generation_config.json of another kind than it must be.
    """
    there, path = hf_files.read_config_json(folder), folder / GENERATION
    generation = json_files.read_object(path) if path.exists() else {}
    json_files.check_fields(generation, FIELDS, str(path))
    json_files.check_fields(
        there, {"eos_token_id": FIELDS["eos_token_id"]}, f"{folder}/config.json"
    )
    ends = generation.get("eos_token_id", there.get("eos_token_id"))
    stops = ends if isinstance(ends, list) else [] if ends is None else [ends]
    halves = hf_files.TensorFiles(folder).dtype == "bfloat16"
    # of a model that transformers made, whose settings it would make anew
    kept = {k: x for k, x in generation.items() if k != "_from_model_config"}
    return FolderSettings(
        "bfloat16" if halves else "float32", kept, tuple(dict.fromkeys(stops))
    )
