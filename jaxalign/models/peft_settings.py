"""What an adapter_config.json of PEFT says of LoRA, and which modules it means.

A setting that changes the result is honoured as PEFT honours it when it loads and
merges the adapter, or refused by its name. Patterns are the file's: they run on a
budget of time.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import regex

from jaxalign import json_files, messages
from jaxalign.json_files import (
    BOOL,
    INDEX,
    NOT_NEGATIVE,
    NULL,
    OBJECT,
    POSITIVE,
    SIZE,
    TEXT,
    list_of,
    one_of,
)
from jaxalign.models import lora

CONFIG = "adapter_config.json"
MAX_COPIES = 10_000  # of a part of a pattern
MATCH_SECONDS = 5.0  # that all patterns of a file may take
NAMES = TEXT | list_of(TEXT)
# Settings that are honoured.
SUPPORTED = {
    "r": SIZE,
    "lora_alpha": POSITIVE,
    "use_rslora": BOOL,
    "rank_pattern": OBJECT | NULL,
    "alpha_pattern": OBJECT | NULL,
    "target_modules": NAMES,
    "exclude_modules": NAMES | NULL,
    "layers_to_transform": INDEX | list_of(INDEX) | NULL,
    "layers_pattern": NAMES | NULL,
    "init_lora_weights": BOOL | TEXT | NULL,
}
# Settings that change nothing of a merged adapter: PEFT goes by the kind of the module
# itself where fan_in_fan_out is wrong, and eva_config only says how a start was found.
IGNORED = {
    "fan_in_fan_out": BOOL,
    "lora_dropout": NOT_NEGATIVE | NULL,
    "inference_mode": BOOL,
    "base_model_name_or_path": TEXT | NULL,
    "revision": TEXT | NULL,
    "task_type": TEXT | NULL,
    "peft_version": TEXT | NULL,
    "auto_mapping": OBJECT | NULL,
    "megatron_core": TEXT | NULL,
    "eva_config": OBJECT | NULL,
    "qalora_group_size": SIZE | NULL,
    "runtime_config": OBJECT | NULL,
}
# Settings that change the mathematics, with the only values that are built.
UNSET: tuple[Any, ...] = (None, [], {}, False)
FIXED_VALUES: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    **dict.fromkeys(
        ("use_dora", "use_qalora", "lora_bias", "ensure_weight_tying")
        + ("modules_to_save", "trainable_token_indices", "target_parameters")
        + ("alora_invocation_tokens", "layer_replication", "megatron_config")
        + ("loftq_config", "corda_config", "lora_ga_config", "use_bdlora")
        + ("arrow_config", "kasa_config", "monteclora_config", "velora_config"),
        UNSET,
    ),
}
# Starts that leave the base as it was, and those that take from it what they start at,
# which PEFT takes from it again when it loads the adapter. Of the others of that kind
# it cannot: pissa_niter_N draws at random, CorDA and LoRA-GA need their data, and
# LoftQ quantises the base.
BASE_PRESERVING_INITS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
BASE_SUBTRACTING_INITS = ("pissa", "olora")


class AdapterSettings(NamedTuple):
    """What an adapter_config.json says of ranks, scales and modules.

    Attributes:
      ranks, alphas: of modules that have others, by a pattern of the name.
      start: of `BASE_SUBTRACTING_INITS`, where the adapter's start was taken from the base.
      said: all that the file says.
      patterns: how the file's patterns are matched.
    """

    rank: int
    alpha: float
    rank_stabilized: bool = False
    ranks: Mapping[str, int] = {}
    alphas: Mapping[str, float] = {}
    start: str | None = None
    said: Mapping[str, Any] = {}
    patterns: "Patterns | None" = None

    @property
    def scale(self) -> float:
        """By how much the product of most modules' factors counts."""
        return lora.scale(self.rank, self.alpha, rank_stabilized=self.rank_stabilized)

    def of(self, module: str) -> tuple[int, float]:
        """The rank and the scale of a module; the first pattern that fits decides."""
        match = self.patterns or Patterns("")
        fits = lambda field, p: match(field, rf"(.*\.)?({p})", module)
        ranks, alphas = self.ranks.items(), self.alphas.items()
        rank = next((x for p, x in ranks if fits("rank_pattern", p)), self.rank)
        alpha = next((x for p, x in alphas if fits("alpha_pattern", p)), self.alpha)
        return rank, lora.scale(rank, alpha, rank_stabilized=self.rank_stabilized)

    def means(self, module: str) -> bool:
        """Whether a module, a linear one, is adapted; as PEFT reads the settings."""
        targets, match = self.said["target_modules"], self.patterns or Patterns("")
        excluded = self.said.get("exclude_modules")
        if excluded and matches_name(excluded, module, match, "exclude_modules"):
            return False
        if isinstance(targets, str):  # layers_to_transform is not for these
            every = targets.lower() == "all-linear"
            return every or match("target_modules", targets, module)
        return matches_name(
            targets, module, match, "target_modules"
        ) and self.is_in_layers(module, match)

    def is_in_layers(self, module: str, match: "Patterns") -> bool:
        """Whether a module is in one of the layers that are adapted."""
        layers = self.said.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        patterns = self.said.get("layers_pattern") or [r"[^.]*"]
        chosen = [layers] if isinstance(layers, int) else layers
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            around = rf"(?:.*?\.)?{pattern}\.(?P<layer>\d+)\..*"
            found = match.groups("layers_pattern", around, module)
            if found is not None:
                return int(found["layer"]) in chosen
        return False


def matches_name(
    names: str | list[str], module: str, match: "Patterns", field: str
) -> bool:
    """Whether a module has one of these names or endings, or fits a pattern."""
    if isinstance(names, str):
        return match(field, names, module)
    return any(module == x or module.endswith(f".{x}") for x in names)


class Patterns:
    """Matches regular expressions of a file, all of them within a few seconds.

    Raises:
      ValueError: one that is not valid, or that takes too long; names the field.
    """

    def __init__(self, where: str, seconds: float = MATCH_SECONDS) -> None:
        self.where, self.left = where, seconds

    def __call__(self, field: str, pattern: str, text: str) -> bool:
        """Whether the whole text fits the pattern."""
        return self.groups(field, pattern, text) is not None

    def groups(self, field: str, pattern: str, text: str) -> dict[str, Any] | None:
        """The named groups of a match of the whole text; None where it does not fit."""
        fault = lambda why: ValueError(
            f"{self.where}: field {field!r}: a pattern {why}"
        )
        counts = regex.findall(r"\{(\d*),?(\d*)\}", pattern)
        copies = math.prod(int(high or low or 1) or 1 for low, high in counts)
        if len(pattern) > 1000 or copies > MAX_COPIES:  # which are written out
            raise fault("is too long, or repeats too much")
        start = time.monotonic()
        try:
            found = regex.fullmatch(pattern, text, timeout=max(self.left, 0.001))
        except TimeoutError:
            raise fault(f"takes more than {MATCH_SECONDS:g} s to match") from None
        except Exception as error:
            raise fault(f"is not valid: {messages.one_line(error)}") from error
        self.left -= time.monotonic() - start
        return None if found is None else found.groupdict()


def read(folder: Path) -> AdapterSettings:
    """What adapter_config.json says.

    Raises:
      FileNotFoundError: there is none.
      ValueError: a field of another kind than it must be, or a setting that is not
        built; one line that names the file and the field.
    """
    path = folder / CONFIG
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no adapter (no {CONFIG})")
    said, where = json_files.read_object(path), str(path)
    for field in ("r", "lora_alpha", "target_modules"):
        if field not in said:
            raise ValueError(f"{where} lacks {field}, so it is no settings of LoRA")
    json_files.check_fields(said, {"peft_type": TEXT, "bias": TEXT, **SUPPORTED}, where)
    json_files.check_fields(said, IGNORED, where)
    first = {"peft_type": said.get("peft_type")}  # the other settings are of its kind
    for field, value in (first | said).items():
        known = field in SUPPORTED or field in IGNORED
        allowed = FIXED_VALUES.get(field, (None,))
        if not known and not one_of(*allowed).accepts(value):
            shown = messages.shorten(repr(value))
            name = messages.shorten(field)
            raise ValueError(f"{where}: {name} = {shown} is not supported")
    for field, kind in (("rank_pattern", SIZE), ("alpha_pattern", POSITIVE)):
        values = said.get(field) or {}
        json_files.check_fields(values, dict.fromkeys(values, kind), where, field)
    if isinstance(said["target_modules"], str):
        for field in ("layers_to_transform", "layers_pattern"):
            if said.get(field):  # PEFT refuses them, too
                raise ValueError(
                    f"{where}: {field} = {said[field]!r} is not supported with a "
                    "target_modules that is a pattern"
                )
    start = said.get("init_lora_weights", True)
    start = start.lower() if isinstance(start, str) else start
    if start not in BASE_PRESERVING_INITS + BASE_SUBTRACTING_INITS:
        shown = messages.shorten(repr(start))
        raise ValueError(
            f"{where}: init_lora_weights = {shown} is not supported: it changed the "
            "base model when the adapter was made, in a way that the files do not tell"
        )
    return AdapterSettings(
        said["r"],
        said["lora_alpha"],
        said.get("use_rslora", False),
        said.get("rank_pattern") or {},
        said.get("alpha_pattern") or {},
        start if start in BASE_SUBTRACTING_INITS else None,
        said,
        Patterns(where),
    )
