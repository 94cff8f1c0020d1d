"""What a decoder-only transformer is made of, in one frozen record."""

import dataclasses
from typing import Literal

FLOATS = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The shape of a Llama-like transformer; all values are JSON.

    Attributes:
      width: of the residual stream.
      hidden: units of the gated feed-forward layer.
      kv_heads: key and value heads, each shared by heads / kv_heads query heads.
      context: longest sequence.
      rope_theta: base of the rotary frequencies.
      tied: the unembedding is the embedding.
      logit_cap: final soft-capping, None for none.
      dtype: what the model computes in; norms, softmax and rotary use float32.
      param_dtype: what the parameters are kept in.
      remat: what the backward pass computes again: nothing, all but the matrix products
        without batch dimensions, or everything within a layer.
      attention: cudnn asks for the fused kernel of NVIDIA GPUs (bfloat16, one sequence
        a row: its padding goes by length, so packed rows must use xla).
      unroll: up to how many layers the training scan is unrolled, without remat. Deeper
        models never are: their compile time must not grow with depth.
    """

    vocab_size: int
    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    tied: bool = True
    logit_cap: float | None = None
    dtype: str = "float32"
    param_dtype: str = "float32"
    remat: Literal["none", "dots", "full"] = "none"
    attention: Literal["xla", "cudnn"] = "xla"
    unroll: int = 4

    @property
    def shares_prompts(self) -> bool:
        """Whether several answers can follow one copy of their prompt in a row."""
        return self.attention == "xla"

    def __post_init__(self) -> None:
        """Refuses shapes that cannot be.

        Raises:
          ValueError: names the field.
        """
        sizes = ("vocab_size", "width", "hidden", "layers", "heads", "kv_heads")
        for field in (*sizes, "head_dim", "context"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"{field} is {getattr(self, field)}; it must be 1 or more"
                )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"{self.heads} heads do not share {self.kv_heads} kv_heads"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} must be even to be rotated")
        if self.remat not in ("none", "dots", "full"):
            raise ValueError(f"remat is none, dots or full, not {self.remat!r}")
        if self.attention not in ("xla", "cudnn"):
            raise ValueError(f"attention is xla or cudnn, not {self.attention!r}")
        for field in ("dtype", "param_dtype"):
            name = getattr(self, field)
            if name not in FLOATS:
                raise ValueError(f"{field} is one of {FLOATS}, not {name!r}")
        if self.attention == "cudnn":
            self.check_fused()

    def check_fused(self) -> None:
        """Refuses what cuDNN's attention cannot do."""
        if self.dtype not in ("bfloat16", "float16"):
            raise ValueError(f"attention cudnn needs dtype bfloat16, not {self.dtype}")
        if self.head_dim % 8 or self.head_dim > 256:
            raise ValueError(
                f"attention cudnn needs a head_dim that is a multiple of 8 and at most "
                f"256, not {self.head_dim}"
            )
