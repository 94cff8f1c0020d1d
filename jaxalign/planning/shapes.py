"""Llama shapes by size: 1b is Llama 3.2's, 8b and 70b are Llama 3's."""

from jaxalign.models.config import ModelConfig


def llama(
    width: int, hidden: int, layers: int, heads: int, kv_heads: int, **others: object
) -> ModelConfig:
    """A Llama configuration in bfloat16."""
    settings: dict[str, object] = {
        "vocab_size": 128_256,
        "head_dim": 64,
        "context": 8192,
        "rope_theta": 500_000.0,
        "tied": True,
        "dtype": "bfloat16",
        "remat": "dots",
    }
    return ModelConfig(
        width=width,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        **(settings | others),  # type: ignore[arg-type]
    )


SHAPES = {
    "tiny": llama(64, 128, 2, 2, 1, head_dim=32, vocab_size=256, context=256),
    "0.5b": llama(1024, 4096, 20, 16, 8),
    "1b": llama(2048, 8192, 16, 32, 8),
    "8b": llama(4096, 14336, 32, 32, 8, head_dim=128, tied=False),
    "70b": llama(8192, 28672, 80, 64, 8, head_dim=128, tied=False),
}
