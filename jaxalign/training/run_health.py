"""Warnings that name it when a run goes wrong, from metrics of steps and evaluations.

both_logratios_fall  the mean log-ratios of chosen and of rejected answers (of KTO:
                     desirable and undesirable ones) are both below -FALL nats
held_out_loss_rises  the held-out loss rose in RISES evaluations one after another, or
                     the last is above the first by more than LOSS_MARGIN of it
kl_runs_away         the KL to the reference is above KL_PER_TOKEN nats for each token
length_runs_away     answers are GROWTH times as long as at the start, and MORE_TOKENS
                     longer
eos_rate_falls       the share of answers with an end fell by more than EOS_FALL
reward_spread_gone   the answers to a prompt (or all held-out answers) have one reward,
                     for all but SPREAD of the prompts

Metrics of single steps are noisy: they are compared as means over WINDOW steps, the
first ones and the last ones. Those of evaluations are compared as they are, since every
evaluation has the same rows and the same random key.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

WINDOW = 10  # steps
FALL = 10.0  # nats: an answer e^10 = 22,000 times less likely than under the reference
RISES = 3  # evaluations
LOSS_MARGIN = 0.01  # share of the first held-out loss; less is noise of the last digits
KL_PER_TOKEN = 1.0  # nats; RLHF's own trade-offs end far below (0.05 to 0.3)
GROWTH, MORE_TOKENS = 2.0, 8.0  # of the length; short answers may double in some steps
EOS_FALL = 0.2  # a share of the answers
SPREAD = 0.02  # a share of the prompts
SIDES = (("chosen", "rejected"), ("desirable", "undesirable"))

Metrics = Mapping[str, float]


class HealthWarning(NamedTuple):
    """A sign that a run goes wrong.

    Attributes:
      step: steps done when it was seen.
      warning: its name in the table above.
      text: what was seen, and what usually helps.
    """

    step: int
    warning: str
    text: str

    def __str__(self) -> str:
        return f"{self.warning} (step {self.step}): {self.text}"


class RunHealth:
    """Detects a run that goes wrong; each warning is given once.

    Attributes:
      warnings: those given so far.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """A new detector, or one that continues from `to_json`."""
        state = state or {}
        self.first: list[dict[str, float]] = list(state.get("first", []))
        self.recent: list[dict[str, float]] = list(state.get("recent", []))
        self.evaluated: dict[str, float] | None = state.get("evaluated")  # the first
        self.losses: list[float] = list(state.get("losses", []))  # held-out ones
        self.warnings = [HealthWarning(*each) for each in state.get("warnings", [])]

    def to_json(self) -> dict[str, Any]:
        """The state, as JSON values."""
        return {
            "first": list(self.first),
            "recent": list(self.recent),
            "evaluated": self.evaluated,
            "losses": list(self.losses),
            "warnings": [list(each) for each in self.warnings],
        }

    def add_step(self, step: int, metrics: Metrics) -> list[HealthWarning]:
        """The new warnings after the metrics of a training step.

        Args:
          step: number of the step.
        """
        known = relevant(metrics)
        if len(self.first) < WINDOW:
            self.first.append(known)
        self.recent = [*self.recent, known][-WINDOW:]
        if len(self.first) < WINDOW:
            return []
        first, last = window_mean(self.first), window_mean(self.recent)
        return self.give(step, {**compare(first, last), **look(last)})

    def add_evaluation(self, step: int, metrics: Metrics) -> list[HealthWarning]:
        """The new warnings after an evaluation.

        Args:
          step: steps done.
          metrics: held-out ones, named `eval/...`.
        """
        named = {name.removeprefix("eval/"): x for name, x in metrics.items()}
        known = relevant(named)
        self.losses += [known["loss"]] if "loss" in known else []
        if self.evaluated is None:
            self.evaluated = known
            return []
        seen = {**compare(self.evaluated, known), **look(known)}
        return self.give(step, {**seen, **rising_loss(self.losses)})

    def give(self, step: int, seen: Mapping[str, str]) -> list[HealthWarning]:
        """Those of the warnings, text by name, that were not given before."""
        given = {each.warning for each in self.warnings}
        new = [
            HealthWarning(step, *each) for each in seen.items() if each[0] not in given
        ]
        self.warnings += new
        return new


RELEVANT = frozenset(
    "loss kl length eos informative ties reward reward_std".split()
    + [f"logratio/{side}" for sides in SIDES for side in sides]
)


def relevant(metrics: Metrics) -> dict[str, float]:
    """The finite metrics that a detector reads."""
    return {
        name: float(x)
        for name, x in metrics.items()
        if name in RELEVANT and isfinite(x)
    }


def window_mean(window: Sequence[Metrics]) -> dict[str, float]:
    """The mean of each metric over the steps that have it."""
    names = {name for step in window for name in step}
    mean = {}
    for name in sorted(names):
        values = [step[name] for step in window if name in step]
        mean[name] = sum(values) / len(values)
    return mean


def look(now: Metrics) -> dict[str, str]:
    """The warnings that metrics give by themselves, text by name.

    >>> list(look({"kl": 30.0, "length": 20.0}))
    ['kl_runs_away']
    >>> look({"kl": 3.0, "length": 20.0})
    {}
    """
    seen = {}
    for good, bad in SIDES:
        up, down = now.get(f"logratio/{good}", 0.0), now.get(f"logratio/{bad}", 0.0)
        if up < -FALL and down < -FALL:
            seen["both_logratios_fall"] = (
                f"{good} answers are at {up:.1f} nats to the reference and {bad} ones "
                f"at {down:.1f}: the policy moves to answers that are neither; lower "
                "--learning-rate, raise --beta, or add the NLL of the good answers "
                "(--loss rpo)"
            )
    kl, length = now.get("kl", 0.0), now.get("length", 0.0)
    if length and kl > KL_PER_TOKEN * length:
        seen["kl_runs_away"] = (
            f"the KL to the reference is {kl:.1f} nats for answers of {length:.1f} "
            f"tokens, more than {KL_PER_TOKEN:g} for each: raise --beta, or lower "
            "--learning-rate"
        )
    if (share := informative_share(now)) is not None and share <= SPREAD:
        seen["reward_spread_gone"] = (
            f"of {share:.0%} of the prompts the answers differ in reward: there is "
            "nothing left to learn from (solved, or the policy gives one answer); take "
            "other prompts, a finer --reward, or a higher --temperature"
        )
    return seen


def informative_share(now: Metrics) -> float | None:
    """The share of prompts whose answers differ in reward; None where not known.

    Of an evaluation, which has one answer to each prompt, whether any of all answers
    differ: 1 or 0.
    """
    if "informative" in now:
        return now["informative"]
    if "ties" in now:
        return 1.0 - now["ties"]
    if "reward_std" in now:
        return float(now["reward_std"] > 1e-6 * (1.0 + abs(now.get("reward", 0.0))))
    return None


def compare(first: Metrics, now: Metrics) -> dict[str, str]:
    """The warnings that a change since the start gives, text by name.

    >>> list(compare({"length": 10.0, "eos": 1.0}, {"length": 30.0, "eos": 0.5}))
    ['length_runs_away', 'eos_rate_falls']
    >>> compare({"length": 10.0}, {"length": 15.0})
    {}
    """
    seen = {}
    before, length = first.get("length", 0.0), now.get("length", 0.0)
    if before and length > GROWTH * before and length > before + MORE_TOKENS:
        seen["length_runs_away"] = (
            f"answers have {length:.1f} tokens, {before:.1f} at the start: the reward "
            "may like length; look at answers, and compare rewards at equal length"
        )
    if "eos" in first and first["eos"] - now.get("eos", 1.0) > EOS_FALL:
        seen["eos_rate_falls"] = (
            f"{now['eos']:.0%} of the answers end, {first['eos']:.0%} at the start: "
            "raise --missing-eos-penalty, or --max-new-tokens where answers are cut"
        )
    return seen


def rising_loss(losses: Sequence[float]) -> dict[str, str]:
    """The warning of a held-out loss that rises, text by name.

    >>> list(rising_loss([1.0, 0.5, 0.6, 0.7, 0.8]))
    ['held_out_loss_rises']
    >>> rising_loss([1.0, 0.5, 0.6, 0.7]), rising_loss([1.0, 1.005])
    ({}, {})
    """
    if len(losses) < 2:
        return {}
    last = losses[-RISES - 1 :]
    pairs = zip(last, last[1:], strict=False)
    in_a_row = len(last) > RISES and all(a < b for a, b in pairs)
    above = losses[-1] - losses[0] > LOSS_MARGIN * abs(losses[0])
    if not (in_a_row or above):
        return {}
    best = min(range(len(losses)), key=losses.__getitem__)
    return {
        "held_out_loss_rises": (
            f"the held-out loss is {losses[-1]:.4g}; it was {losses[0]:.4g} at the "
            f"start and lowest, {losses[best]:.4g}, at evaluation {best + 1} of "
            f"{len(losses)}: the run overfits, or its learning rate is too high; see "
            "--keep-best=-eval/loss with --patience and --export-best"
        )
    }
