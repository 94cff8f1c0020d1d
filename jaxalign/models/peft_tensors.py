"""The safetensors file of a PEFT adapter: names and layout of its factors."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jaxalign import messages
from jaxalign.models.peft_modules import LinearModule, output_axes

TENSORS = "adapter_model.safetensors"


def factor_names(module: LinearModule) -> tuple[str, str]:
    """The names of a module's A and B in the file."""
    stem = f"base_model.model.{module.name}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def is_input_first(module: LinearModule) -> bool:
    """Whether the file has the weight as [inputs, outputs], as GPT-2's do."""
    first = module.mappings[0]
    return first.file_axes[1] == output_axes(first)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read every tensor of a file.

    Returns:
      Name -> array.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a damaged file, or a tensor that is not of floats.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path.parent} holds no adapter (no {path.name})")
    try:
        tensors: dict[str, np.ndarray] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        why = messages.one_line(error)
        raise ValueError(f"{path} is damaged or cut short: {why}") from error
    for name, tensor in tensors.items():
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise ValueError(f"{path}: {name} is {tensor.dtype}; expected a float type")
    return tensors
