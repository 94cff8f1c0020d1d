"""What a decoder-only transformer is made of, in one frozen record."""

import dataclasses
from typing import Literal, get_args, get_type_hints

from jaxalign.models.rope import RopeScaling

FLOATS = ("float32", "bfloat16", "float16")
SIZES = ("vocab_size", "width", "hidden", "layers", "heads", "kv_heads", "head_dim")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The shape of a transformer; the defaults are Llama's.

    Attributes:
      width: of the residual stream.
      hidden: units of the feed-forward layer.
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
      family: whose names a saved folder uses, see `families.known`.
      norm: root mean square, or layer normalisation with a bias.
      norm_offset: added to a norm's scale.
      norm_place: norms before attention and feed-forward, after them, or both.
      qk_norm: norms of queries and keys: of each head, or of all heads as one.
      activation: of the feed-forward layer; gelu_tanh is the approximation by tanh.
      gated: down(activation(gate) * up), rather than down(activation(up)).
      qkv_bias, out_bias, mlp_bias: added to queries, keys and values; to what attention
        puts out; in the feed-forward layer.
      parallel: attention and feed-forward read the same input.
      learned_positions: a vector per position is added to the embedding, rather than
        queries and keys rotated.
      rope_share: part of each head that is rotated.
      rope_scaling: how rotary frequencies are stretched.
      rope_local_theta: base in sliding layers, unstretched; None for the same.
      embed_scaled: embeddings are multiplied by sqrt(width).
      query_scale: of the scores; None for 1 / sqrt(head_dim).
      attention_cap: soft-capping of the scores.
      window: how many tokens a sliding layer looks back on, its own included.
      sliding: which layers slide; empty for all, where there is a window.
      origin: what the model began as, where it was made here (toy: the new small model
        of --model toy); a saved folder's config.json says so as `jaxalign_origin`.
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
    family: str = "llama"
    norm: Literal["rms", "layer"] = "rms"
    norm_offset: float = 0.0
    norm_place: Literal["before", "after", "both"] = "before"
    qk_norm: Literal["none", "head", "whole"] = "none"
    activation: Literal["silu", "gelu", "gelu_tanh"] = "silu"
    gated: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    parallel: bool = False
    learned_positions: bool = False
    rope_share: float = 1.0
    rope_scaling: RopeScaling | None = None
    rope_local_theta: float | None = None
    embed_scaled: bool = False
    query_scale: float | None = None
    attention_cap: float | None = None
    window: int | None = None
    sliding: tuple[bool, ...] = ()
    origin: str = ""

    @property
    def is_sliding(self) -> tuple[bool, ...]:
        """Of each layer, whether it has the window."""
        return self.sliding or (self.window is not None,) * self.layers

    @property
    def rotary_dim(self) -> int:
        """How many numbers of a head are rotated."""
        return int(self.head_dim * self.rope_share)

    @property
    def supports_shared_prompts(self) -> bool:
        """Whether several answers can follow one copy of their prompt in a row.

        cuDNN has no such mask, and longrope turns a prompt by how long its answer is.
        """
        scaling = self.rope_scaling
        stretched = scaling is not None and scaling.kind == "longrope"
        return self.attention == "xla" and not stretched

    def __post_init__(self) -> None:
        """Refuses shapes that cannot be.

        Raises:
          ValueError: names the field.
        """
        for field in (*SIZES, "context"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"{field} is {getattr(self, field)}; it must be 1 or more"
                )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"{self.heads} heads do not share {self.kv_heads} kv_heads"
            )
        if not self.learned_positions and (self.rotary_dim % 2 or not self.rotary_dim):
            raise ValueError(
                f"head_dim {self.head_dim} must be even to be rotated, and so must its "
                f"share of {self.rope_share}"
            )
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                known = f"{', '.join(choices[:-1])} or {choices[-1]}"
                raise ValueError(f"{field} is {known}, not {value!r}")
        for field in ("dtype", "param_dtype"):
            name = getattr(self, field)
            if name not in FLOATS:
                raise ValueError(f"{field} is one of {FLOATS}, not {name!r}")
        self.check_positions()
        if self.attention == "cudnn":
            self.check_cudnn()

    def check_positions(self) -> None:
        """Refuses windows and stretchings that fit no layer or no frequency."""
        if self.window is not None and self.window < 1:
            raise ValueError(f"window is {self.window}; it must be 1 or more")
        if self.sliding and (self.window is None or len(self.sliding) != self.layers):
            raise ValueError(
                f"sliding names {len(self.sliding)} of {self.layers} layers, with a "
                f"window of {self.window}"
            )
        scaling = self.rope_scaling
        if scaling and scaling.kind == "longrope":
            sizes = {len(scaling.short), len(scaling.long)}
            if sizes != {self.rotary_dim // 2}:
                raise ValueError(
                    f"longrope needs {self.rotary_dim // 2} short and long factors, not "
                    f"{len(scaling.short)} and {len(scaling.long)}"
                )

    def check_cudnn(self) -> None:
        """Refuses what cuDNN's attention cannot do."""
        if self.dtype not in ("bfloat16", "float16"):
            raise ValueError(f"attention cudnn needs dtype bfloat16, not {self.dtype}")
        if self.head_dim % 8 or self.head_dim > 256:
            raise ValueError(
                f"attention cudnn needs a head_dim that is a multiple of 8 and at most "
                f"256, not {self.head_dim}"
            )
        for field in ("attention_cap", "window"):
            if getattr(self, field) is not None:
                raise ValueError(f"attention cudnn has no {field}; use attention xla")


CHOICES = {
    field: get_args(kind)
    for field, kind in get_type_hints(ModelConfig).items()
    if isinstance(kind, type(Literal["rms"]))
}
