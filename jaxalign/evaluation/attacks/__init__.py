"""Attacks on aligned models: rewritten requests, random ones, and by gradient."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "ATTACKS": "prompt_attacks",
        "Attack": "gcg",
        "AttackRow": "gcg",
        "GcgOptions": "gcg",
        "GcgResult": "gcg",
        "augment": "augmentations",
        "augmentations": "augmentations",
        "fit_shot_law": "power_laws",
        "fit_success_law": "power_laws",
        "gcg": "gcg",
        "optimize_suffix": "gcg",
        "make_attack": "gcg",
        "many_shot": "prompt_attacks",
        "power_laws": "power_laws",
        "prompt_attacks": "prompt_attacks",
    },
)
