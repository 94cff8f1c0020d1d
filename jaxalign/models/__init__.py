"""Batch -> logits: Flax modules inside, pure functions over parameter trees outside.

model, params = models.load("FOLDER")  # a Hugging Face folder
hidden = model.hidden(params, tokens, positions, segments)
models.save("OUT", model, params)
"""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "ModelConfig": "config",
        "int8": "int8",
        "language_model": "transformer",
        "load": "pretrained",
        "load_reward": "pretrained",
        "lora": "lora",
        "merge_trainable": "param_filter",
        "nf4": "nf4",
        "peft": "peft",
        "pretrained": "pretrained",
        "save": "pretrained",
        "save_reward": "pretrained",
        "scalar_model": "heads",
        "select_trainable": "param_filter",
    },
)
