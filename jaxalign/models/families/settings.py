"""Types of the fields of a config.json, in all families."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxalign import json_files, messages
from jaxalign.json_files import (
    BOOL,
    FRACTION,
    INDEX,
    INTEGER,
    NOT_NEGATIVE,
    NULL,
    NUMBER,
    OBJECT,
    POSITIVE,
    SIZE,
    TEXT,
    FieldType,
    list_of,
)

SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "max_position_embeddings", "n_embd", "n_layer", "n_head",
    "n_positions", "sliding_window_pattern", "_sliding_window_pattern",
)  # fmt: skip
OPTIONAL_SIZES = (
    "num_key_value_heads", "head_dim", "n_inner", "sliding_window", "num_labels",
    "original_max_position_embeddings",
)  # fmt: skip
FLAGS = (
    "tie_word_embeddings", "attention_bias", "mlp_bias", "use_sliding_window",
    "use_parallel_residual", "scale_attn_weights", "scale_attn_by_inverse_layer_idx",
    "add_cross_attention",
)  # fmt: skip
CAPS = ("attn_logit_softcapping", "final_logit_softcapping")
EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
BASES = ("rope_theta", "rotary_emb_base", "rope_local_base_freq")
FIELDS: dict[str, FieldType] = {
    "architectures": list_of(TEXT) | NULL,
    "model_type": TEXT,
    **dict.fromkeys(SIZES, SIZE),
    **dict.fromkeys(OPTIONAL_SIZES, SIZE | NULL),
    **dict.fromkeys(FLAGS, BOOL),
    "use_bidirectional_attention": BOOL | NULL,
    **dict.fromkeys(CAPS, POSITIVE | NULL),
    **dict.fromkeys(EPSILONS, NOT_NEGATIVE),
    **dict.fromkeys(BASES, POSITIVE),
    "query_pre_attn_scalar": POSITIVE,
    "max_window_layers": INDEX,
    "layer_types": list_of(TEXT) | NULL,
    "rotary_pct": FRACTION,
    "partial_rotary_factor": FRACTION,
    "hidden_act": TEXT,
    "hidden_activation": TEXT | NULL,
    "activation_function": TEXT,
    "rope_scaling": OBJECT | NULL,
    "rope_parameters": OBJECT | NULL,
    "torch_dtype": TEXT | NULL,
    "dtype": TEXT | NULL,
    "id2label": OBJECT | NULL,
    "label2id": OBJECT | NULL,
    "jaxalign_origin": TEXT,  # `types.ORIGIN_KEY`
    "bos_token_id": INTEGER | NULL,
    "pad_token_id": INTEGER | NULL,
    "eos_token_id": INTEGER | list_of(INTEGER) | NULL,
}
NESTED = ("sliding_attention", "full_attention")  # of rotary settings by layer
ROPE: dict[str, FieldType] = {
    "rope_type": TEXT,
    "type": TEXT,
    "rope_theta": POSITIVE,
    "factor": POSITIVE | NULL,
    "original_max_position_embeddings": SIZE | NULL,
    "low_freq_factor": POSITIVE,
    "high_freq_factor": POSITIVE,
    "beta_slow": POSITIVE | NULL,
    "beta_fast": POSITIVE | NULL,
    "mscale": NUMBER | NULL,
    "mscale_all_dim": NUMBER | NULL,
    "attention_factor": POSITIVE | NULL,
    "partial_rotary_factor": FRACTION | NULL,
    "truncate": BOOL,
    "short_factor": list_of(POSITIVE),
    "long_factor": list_of(POSITIVE),
    **dict.fromkeys(NESTED, OBJECT | NULL),
}


def check(config_json: Mapping[str, Any], location: str) -> None:
    """Validate the types of a config.json's fields.

    Args:
      location: of the file, for messages.

    Raises:
      ValueError: names the file and the field.
    """
    json_files.check_fields(config_json, FIELDS, location)
    for name in ("rope_scaling", "rope_parameters"):
        check_rope(config_json.get(name) or {}, location, name)


def check_rope(rope: Mapping[str, Any], location: str, name: str) -> None:
    """Validate the names and types of rotary settings.

    Args:
      location: of the file, for messages.
      name: of the field that holds them.

    Raises:
      ValueError: names the file and the field.
    """
    for field in rope:
        if field not in ROPE:
            shown = messages.shorten(field)
            raise ValueError(f"{location}: field '{name}.{shown}' is not supported")
    json_files.check_fields(rope, ROPE, location, name)
    if rope and name == "rope_scaling" and not {"rope_type", "type", *NESTED} & {*rope}:
        raise ValueError(f"{location}: field {name!r} has no rope_type")
    for kind in NESTED:
        if rope.get(kind):
            check_rope(rope[kind], location, f"{name}.{kind}")


def invalid_field(
    config_json: Mapping[str, Any], read: Callable[[dict[str, Any]], Any]
) -> str:
    """The field of a config.json that makes `read` fail, as the start of a message.

    The first field without which `read` succeeds; or, of two fields that do not go
    together, the first number with which it succeeds when set to 1.

    Args:
      read: (fields) -> configuration; raises on invalid fields.

    Returns:
      "field 'NAME': ", or nothing if there is no such field.
    """
    without = lambda name: {key: x for key, x in config_json.items() if key != name}
    changed = [(name, without(name)) for name in config_json]
    for name, value in config_json.items():
        if json_files.is_int(value):
            changed.append((name, {**config_json, name: 1}))
    for name, fields in changed:
        try:
            read(fields)
        except Exception:  # those of transformers have no other common base
            continue
        return f"field {name!r}: "
    return ""
