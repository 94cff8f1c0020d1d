"""Settings of a tiny model of each family, as fields of its config.json.

Every feature of a family is on; texts of 30 tokens are longer than sliding windows and
original contexts.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxalign.data import tokenizer as tokenizers
from jaxalign.models import transformer
from jaxalign.models.families import registry
from jaxalign.pipeline import model_folders, policies

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
SHARED = SIZES | {"num_key_value_heads": 2, "head_dim": 12}
PATTERN = ["sliding_attention", "full_attention", "sliding_attention"]
ROPE_SCALING = {"factor": 4.0, "original_max_position_embeddings": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SHARED
    | {
        "attention_bias": True,
        "mlp_bias": True,
        "rope_theta": 500.0,
        "rope_scaling": ROPE_SCALING
        | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    },
    "mistral": SHARED | {"sliding_window": 5},
    "qwen2": SHARED
    | {
        "head_dim": 8,
        "use_sliding_window": True,
        "sliding_window": 6,
        "max_window_layers": 2,
        "rope_scaling": ROPE_SCALING | {"rope_type": "yarn"},
    },
    "qwen3": SHARED
    | {
        "attention_bias": True,
        "use_sliding_window": True,
        "sliding_window": 6,
        "layer_types": PATTERN,
    },
    "gemma2": SHARED
    | {
        "sliding_window": 5,
        "query_pre_attn_scalar": 20,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "attention_bias": True,
    },
    "gemma3_text": SHARED
    | {
        "sliding_window": 5,
        "layer_types": PATTERN,
        "query_pre_attn_scalar": 20,
        "final_logit_softcapping": 3.0,
        "rope_theta": 1000.0,
        "rope_local_base_freq": 100.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "phi3": SIZES
    | {
        "num_key_value_heads": 2,
        "sliding_window": 7,
        "pad_token_id": 0,
        "original_max_position_embeddings": 16,
        "partial_rotary_factor": 0.5,
        "rope_scaling": {
            "rope_type": "longrope",
            "short_factor": [1.0, 1.1],
            "long_factor": [2.0, 3.0],
            "original_max_position_embeddings": 16,
        },
    },
    "gpt2": {
        "vocab_size": 61,
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 64,
        "n_inner": 40,
    },
    "gpt_neox": SIZES | {"rotary_pct": 0.5, "rotary_emb_base": 500},
    "olmo2": SHARED | {"head_dim": 8, "attention_bias": True},
}


def write_user_files(
    folder: Path, family: str, rows: Sequence[dict[str, str]], **changes: Any
) -> Path:
    """Write FOLDER/model with a tokenizer, and FOLDER/pairs.jsonl.

    Args:
      rows: of pairs.jsonl.
      changes: fields of config.json other than those of `FAMILIES`.

    Returns:
      The folder.
    """
    folder.mkdir(exist_ok=True)
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = [text for row in rows for text in row.values()]
    tokenizer = tokenizers.train(texts, vocab_size=280)
    settings = FAMILIES[family] | changes
    settings |= {
        "architectures": [registry.FAMILIES[family].language],
        "model_type": family,
        "vocab_size": len(tokenizer) + 8,  # embeddings have rows to spare
    }
    config = registry.read_config(settings, family, dtype="float32")
    model = transformer.language_model(config)
    params = model.init(jax.random.key(0))
    model_folders.save(folder / "model", policies.Policy(model, params, tokenizer, 64))
    return folder
