"""The configuration of a decoder-only transformer, one record for all families."""

import dataclasses
from typing import Literal, get_args, get_type_hints

from jaxalign.models.rope import RopeScaling

FLOAT_DTYPES = ("float32", "bfloat16", "float16")
Remat = Literal["none", "dots", "full"]
SIZES = ("vocab_size", "width", "hidden", "layers", "heads", "kv_heads", "head_dim")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture of a transformer, and how it is computed; defaults are Llama's.

    Attributes:
      vocab_size: rows of the embedding.
      width: numbers of the residual stream per token.
      hidden: units of the feed-forward layer.
      layers: number of transformer layers.
      heads: query heads.
      kv_heads: key and value heads, each shared by heads / kv_heads query heads.
      head_dim: numbers of a head.
      context: tokens of the longest sequence.
      rope_theta: base of the rotary frequencies.
      norm_eps: added to the mean square in norms.
      tied: the unembedding is the transposed embedding.
      logit_cap: soft cap on the logits; None for none.
      dtype: of the computation; norms, softmax and rotary embeddings use float32.
      param_dtype: of the parameters.
      remat: what the backward pass recomputes: nothing, all but matrix products without
        batch dimensions, or everything within a layer.
      attention: cudnn selects the fused kernel of NVIDIA GPUs (bfloat16, one sequence
        per row: it takes lengths, so packed rows need xla).
      unroll: most layers for which the training scan is unrolled, without remat. Deeper
        models are never unrolled: compile time must not grow with depth.
      family: whose tensor names a saved folder uses, see `families.registry`.
      norm: root mean square, or layer normalization with a bias.
      norm_offset: added to the scale of a norm.
      norm_place: norms before attention and feed-forward, after them, or both.
      qk_norm: norms of queries and keys: none, of each head, or of all heads as one
        vector.
      activation: of the feed-forward layer; gelu_tanh is the tanh approximation.
      gated: down(activation(gate) * up) in place of down(activation(up)).
      qkv_bias, out_bias, mlp_bias: biases of queries, keys and values; of the output
        of attention; in the feed-forward layer.
      parallel: attention and feed-forward read the same input.
      learned_positions: a learned vector per position is added to the embedding, in
        place of rotary embeddings.
      rotary_fraction: part of each head that is rotated.
      rope_scaling: scaling of the rotary frequencies; None for none.
      rope_local_theta: base in layers with a sliding window, unscaled; None for
        `rope_theta` and its scaling.
      scale_embeddings: embeddings are multiplied by sqrt(width).
      query_scale: factor of the attention scores; None for 1 / sqrt(head_dim).
      attention_cap: soft cap on the attention scores; None for none.
      window: tokens that a layer with a sliding window looks back on, the current one
        included; None for no such layers.
      sliding: per layer, whether it has the window; empty for all layers, where there
        is a window.
      origin: what the model began as, where it was created here (toy: the small model
        of --model toy); config.json of a saved folder has it as `jaxalign_origin`.
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
    remat: Remat = "none"
    attention: Literal["xla", "cudnn"] = "xla"
    unroll: int = 4
    family: str = "llama"
    norm: Literal["rms", "layer"] = "rms"
    norm_offset: float = 0.0
    norm_place: Literal["before", "after", "both"] = "before"
    qk_norm: Literal["none", "head", "all_heads"] = "none"
    activation: Literal["silu", "gelu", "gelu_tanh"] = "silu"
    gated: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    parallel: bool = False
    learned_positions: bool = False
    rotary_fraction: float = 1.0
    rope_scaling: RopeScaling | None = None
    rope_local_theta: float | None = None
    scale_embeddings: bool = False
    query_scale: float | None = None
    attention_cap: float | None = None
    window: int | None = None
    sliding: tuple[bool, ...] = ()
    origin: str = ""

    @property
    def is_sliding(self) -> tuple[bool, ...]:
        """Per layer, whether it has a sliding window."""
        return self.sliding or (self.window is not None,) * self.layers

    @property
    def rotary_dim(self) -> int:
        """Numbers of a head that are rotated."""
        return int(self.head_dim * self.rotary_fraction)

    @property
    def supports_shared_prompts(self) -> bool:
        """Whether several answers can follow one copy of their prompt in a row.

        cuDNN has no such mask, and longrope rotates a prompt by the length of its
        answer.
        """
        scaling = self.rope_scaling
        is_longrope = scaling is not None and scaling.kind == "longrope"
        return self.attention == "xla" and not is_longrope

    def __post_init__(self) -> None:
        """Validate the fields.

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
                f"heads is {self.heads}; it must be a multiple of kv_heads, "
                f"{self.kv_heads}"
            )
        if not self.learned_positions and (self.rotary_dim % 2 or not self.rotary_dim):
            raise ValueError(
                f"head_dim is {self.head_dim} and rotary_fraction is "
                f"{self.rotary_fraction}: their product must be even and positive"
            )
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                known = f"{', '.join(choices[:-1])} or {choices[-1]}"
                raise ValueError(f"{field} is {value!r}; it must be {known}")
        for field in ("dtype", "param_dtype"):
            name = getattr(self, field)
            if name not in FLOAT_DTYPES:
                known = ", ".join(FLOAT_DTYPES)
                raise ValueError(f"{field} is {name!r}; it must be one of {known}")
        self.check_positions()
        if self.attention == "cudnn":
            self.check_cudnn()

    def check_positions(self) -> None:
        """Validate windows and rope scalings against the layers and the head.

        Raises:
          ValueError: names the field.
        """
        if self.window is not None and self.window < 1:
            raise ValueError(f"window is {self.window}; it must be 1 or more")
        if self.sliding and (self.window is None or len(self.sliding) != self.layers):
            raise ValueError(
                f"sliding has {len(self.sliding)} entries for {self.layers} layers, "
                f"with a window of {self.window}"
            )
        scaling = self.rope_scaling
        if scaling and scaling.kind == "longrope":
            sizes = {len(scaling.short), len(scaling.long)}
            if sizes != {self.rotary_dim // 2}:
                raise ValueError(
                    f"longrope has {len(scaling.short)} short and "
                    f"{len(scaling.long)} long factors; it needs "
                    f"{self.rotary_dim // 2} of each"
                )

    def check_cudnn(self) -> None:
        """Validate the fields against the limits of cuDNN's attention.

        Raises:
          ValueError: names the field.
        """
        if self.dtype not in ("bfloat16", "float16"):
            raise ValueError(
                f"dtype is {self.dtype}; attention cudnn needs bfloat16 or float16"
            )
        if self.head_dim % 8 or self.head_dim > 256:
            raise ValueError(
                f"head_dim is {self.head_dim}; attention cudnn needs a multiple of 8 "
                "of at most 256"
            )
        for field in ("attention_cap", "window"):
            if getattr(self, field) is not None:
                raise ValueError(f"attention cudnn has no {field}; use attention xla")


CHOICES = {
    field: get_args(kind)
    for field, kind in get_type_hints(ModelConfig).items()
    if isinstance(kind, type(Literal["rms"]))
}
