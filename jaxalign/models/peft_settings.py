"""Settings of a PEFT adapter: adapter_config.json, and which modules it adapts.

A setting that changes the result has the effect that PEFT gives it when it loads and
merges the adapter, or is an error. Patterns come from the file: matching them is
limited in time.
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
MAX_COPIES = 10_000  # repetitions that a pattern may expand to
MAX_PATTERN = 1_000  # letters of a pattern
MATCH_SECONDS = 5.0  # for all patterns of a file
NAMES = TEXT | list_of(TEXT)
# settings that have their effect
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
# settings without effect on a merged adapter: PEFT takes the kind of the module where
# fan_in_fan_out is wrong, and eva_config describes how an initialization was found
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
# settings that change the mathematics, with the only values that are supported
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
# initializations that leave the base unchanged, and those that subtract the initial
# product from it, as PEFT does again when it loads the adapter. Others of the second
# kind cannot be repeated: pissa_niter_N is random, CorDA and LoRA-GA need their data,
# and LoftQ quantizes the base.
BASE_PRESERVING_INITS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
BASE_SUBTRACTING_INITS = ("pissa", "olora")


class AdapterSettings(NamedTuple):
    """Ranks, scales and modules of an adapter_config.json.

    Attributes:
      rank, alpha, rank_stabilized: as of `lora.scale`.
      ranks, alphas: of modules with others, by a pattern of the module's name.
      subtracted_init: of `BASE_SUBTRACTING_INITS`; None for other initializations.
      raw: content of the file.
      matcher: of the patterns; None for settings that are not from a file.
    """

    rank: int
    alpha: float
    rank_stabilized: bool = False
    ranks: Mapping[str, int] = {}
    alphas: Mapping[str, float] = {}
    subtracted_init: str | None = None
    raw: Mapping[str, Any] = {}
    matcher: "PatternMatcher | None" = None

    @property
    def scale(self) -> float:
        """The scale of the product of factors in modules without a pattern."""
        return lora.scale(self.rank, self.alpha, rank_stabilized=self.rank_stabilized)

    def rank_and_scale(self, module: str) -> tuple[int, float]:
        """The rank and the scale of a module; of several patterns, the first match."""
        matcher = self.matcher or PatternMatcher("")
        matches = lambda field, p: matcher(field, rf"(.*\.)?({p})", module)
        ranks, alphas = self.ranks.items(), self.alphas.items()
        rank = next((x for p, x in ranks if matches("rank_pattern", p)), self.rank)
        alpha = next((x for p, x in alphas if matches("alpha_pattern", p)), self.alpha)
        return rank, lora.scale(rank, alpha, rank_stabilized=self.rank_stabilized)

    def adapts(self, module: str) -> bool:
        """Whether a linear module is adapted, as PEFT reads the settings."""
        targets = self.raw["target_modules"]
        matcher = self.matcher or PatternMatcher("")
        excluded = self.raw.get("exclude_modules")
        if excluded and matches_name(excluded, module, matcher, "exclude_modules"):
            return False
        if isinstance(targets, str):  # layers_to_transform has no effect on these
            is_every = targets.lower() == "all-linear"
            return is_every or matcher("target_modules", targets, module)
        return matches_name(
            targets, module, matcher, "target_modules"
        ) and self.is_in_layers(module, matcher)

    def is_in_layers(self, module: str, matcher: "PatternMatcher") -> bool:
        """Whether a module is in one of the layers that are adapted."""
        layers = self.raw.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        patterns = self.raw.get("layers_pattern") or [r"[^.]*"]
        indices = [layers] if isinstance(layers, int) else layers
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            full = rf"(?:.*?\.)?{pattern}\.(?P<layer>\d+)\..*"
            groups = matcher.groups("layers_pattern", full, module)
            if groups is not None:
                return int(groups["layer"]) in indices
        return False


def matches_name(
    names: str | list[str], module: str, matcher: "PatternMatcher", field: str
) -> bool:
    """Whether a module matches a pattern, or has one of several names or endings."""
    if isinstance(names, str):
        return matcher(field, names, module)
    return any(module == x or module.endswith(f".{x}") for x in names)


class PatternMatcher:
    """Matches the regular expressions of a file within a time limit for all of them."""

    def __init__(self, location: str, seconds: float = MATCH_SECONDS) -> None:
        """Set the limit.

        Args:
          location: of the file, for messages.
          seconds: for all matches.
        """
        self.location, self.seconds_left = location, seconds

    def __call__(self, field: str, pattern: str, text: str) -> bool:
        """Whether a pattern matches the whole text, see `groups`."""
        return self.groups(field, pattern, text) is not None

    def groups(self, field: str, pattern: str, text: str) -> dict[str, Any] | None:
        """The named groups of a match of the whole text; None without a match.

        Raises:
          ValueError: a pattern that is invalid, too long or too slow; names the field.
        """
        error_of = lambda reason: ValueError(
            f"{self.location}: field {field!r}: a pattern {reason}"
        )
        counts = regex.findall(r"\{(\d*),?(\d*)\}", pattern)
        copies = math.prod(int(high or low or 1) or 1 for low, high in counts)
        if len(pattern) > MAX_PATTERN or copies > MAX_COPIES:  # regex expands them
            raise error_of("is too long, or repeats too much")
        start = time.monotonic()
        try:
            match = regex.fullmatch(
                pattern, text, timeout=max(self.seconds_left, 0.001)
            )
        except TimeoutError:
            raise error_of(f"takes more than {MATCH_SECONDS:g} s to match") from None
        except Exception as error:
            reason = messages.one_line(error)
            raise error_of(f"is not valid: {reason}") from error
        self.seconds_left -= time.monotonic() - start
        return None if match is None else match.groupdict()


def read(folder: Path) -> AdapterSettings:
    """Read the adapter_config.json of a folder.

    Raises:
      FileNotFoundError: there is none.
      ValueError: a field of the wrong type or a setting that is not supported; names
        the file and the field.
    """
    path = folder / CONFIG
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no adapter (no {CONFIG})")
    raw, location = json_files.read_object(path), str(path)
    check_supported(raw, location)
    init = raw.get("init_lora_weights", True)
    init = init.lower() if isinstance(init, str) else init
    if init not in BASE_PRESERVING_INITS + BASE_SUBTRACTING_INITS:
        shown = messages.shorten(repr(init))
        raise ValueError(
            f"{location}: init_lora_weights = {shown} is not supported: it changed the "
            "base model when the adapter was made, and the files do not say how"
        )
    return AdapterSettings(
        raw["r"],
        raw["lora_alpha"],
        raw.get("use_rslora", False),
        raw.get("rank_pattern") or {},
        raw.get("alpha_pattern") or {},
        init if init in BASE_SUBTRACTING_INITS else None,
        raw,
        PatternMatcher(location),
    )


def check_supported(raw: Mapping[str, Any], location: str) -> None:
    """Validate the fields of an adapter_config.json.

    Raises:
      ValueError: a missing field, one of the wrong type, or a setting that is not
        supported; names the file and the field.
    """
    for field in ("r", "lora_alpha", "target_modules"):
        if field not in raw:
            raise ValueError(f"{location}: field {field!r} of LoRA is missing")
    json_files.check_fields(
        raw, {"peft_type": TEXT, "bias": TEXT, **SUPPORTED}, location
    )
    json_files.check_fields(raw, IGNORED, location)
    first = {"peft_type": raw.get("peft_type")}  # other settings depend on it
    for field, value in (first | dict(raw)).items():
        is_known = field in SUPPORTED or field in IGNORED
        allowed = FIXED_VALUES.get(field, (None,))
        if not is_known and not one_of(*allowed).accepts(value):
            shown = messages.shorten(repr(value))
            name = messages.shorten(field)
            raise ValueError(f"{location}: {name} = {shown} is not supported")
    for field, kind in (("rank_pattern", SIZE), ("alpha_pattern", POSITIVE)):
        values = raw.get(field) or {}
        json_files.check_fields(values, dict.fromkeys(values, kind), location, field)
    if isinstance(raw["target_modules"], str):
        for field in ("layers_to_transform", "layers_pattern"):
            if raw.get(field):  # an error in PEFT, too
                raise ValueError(
                    f"{location}: {field} = {raw[field]!r} is not supported with a "
                    "target_modules that is a pattern"
                )
