"""Weak-to-strong generalization of reward models, and easy-to-hard, in the toy world.

Claim, not tested yet (smoke runs only): a strong reward model that learns from a weak
one's labels is better than its labels, but recovers a part of the gap to the truth
only; the auxiliary confidence loss makes it agree less with the weak model's errors
(Burns et al. 2023, arXiv:2312.09390: for reward models a tenth to a fifth of the gap).

    python -m experiments.studies.weak_to_strong --quick
    python -m experiments.studies.weak_to_strong --seeds 5 --out runs/weak --resume

The prompts are in two halves. The weak model learns the truth of the first half, and
labels the second half softly. The strong one, which starts from an SFT policy of the
toy model, learns the second half from

    strong, truth                       the better answers by true reward: the ceiling
    strong, weak labels                 the weak model's probabilities
    strong, weak labels, confidence C   mixed with its own preferences (--confidences)
    short answers, long answers         the truth of pairs whose answers are short (at
                                        most --short-words words), or are not

The weak model is a fifth of the size, or the same with --weak few; both have
--weak-pairs pairs. Measured on held-out pairs, the same for all: accuracy by the true
reward, agreement with the weak model, also where that is wrong, and the performance gap
recovered, (student - weak) / (ceiling - weak), which is undefined where the gap is
within noise. The last two arms are easy-to-hard: accuracy on long pairs of a model that
has seen short ones.

Writes OUT/report.html, weak_to_strong.png and a folder for each seed and arm.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from jaxalign.data.records import Preference
from jaxalign.evaluation.page import Page
from jaxalign.pipeline import weak_labels, weak_to_strong_report
from jaxalign.pipeline.evaluation.answer_scorers import Scorer
from jaxalign.pipeline.evaluation.models import (
    EvaluationConfig,
    evaluation_mesh,
    load_policy,
)
from jaxalign.pipeline.safety_study import reward_scores, student
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.pipeline.weak_to_strong_report import (
    CEILING,
    LONG,
    SHORT,
    STUDENT,
    WEAK,
)
from jaxalign.runtime import distributed, flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.study_sizes import with_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(EvaluationConfig):
    """Weak-to-strong generalization of reward models in the toy world."""

    RANGES: ClassVar = {
        **flags.ranges_of(flags.COUNT, "sft_steps weak_pairs pairs reward_steps"),
        **flags.ranges_of(flags.COUNT, "eval_pairs short_words"),
        **flags.ranges_of(flags.SHARE, "confidences"),
    }
    seeds: int = flags.resumable(1)
    """Number of runs, of seeds --seed, --seed + 1, ..."""
    weak: Literal["small", "few"] = "small"
    """The weak model: a fifth of the toy model's size, or of its size on few pairs."""
    confidences: tuple[float, ...] = (0.5, 0.75)
    """Weights of the student's own preferences, beside 0; each is an arm."""
    sft_steps: int = 250
    weak_pairs: int = 300
    """Pairs that the weak model learns from."""
    pairs: int = 2000
    """Pairs of the second half, which the strong model learns from."""
    reward_steps: int = 200
    eval_pairs: int = 512
    """Held-out pairs."""
    short_words: int = 8
    """Words of the longest answer that is short."""
    quick: bool = False
    """One shorter run, of some minutes."""
    smoke: bool = False
    """A few steps of a few arms, to see that it runs."""


SMOKE: dict[str, Any] = {
    **{"sft_steps": 2, "reward_steps": 2, "weak_pairs": 16, "pairs": 32},
    **{"eval_pairs": 16, "confidences": (0.5,)},
}
QUICK: dict[str, Any] = {
    **{"sft_steps": 150, "reward_steps": 80, "pairs": 1000, "eval_pairs": 512},
    **{"confidences": (0.5,)},
}


def main(config: Config) -> dict[str, Any]:
    """Trains all arms with all seeds; returns accuracies and recovered gaps.

    Raises:
      ValueError: bad flags.
    """
    command = config_command(config, "experiments.studies.weak_to_strong")
    config = with_size(config, smoke=SMOKE, quick=QUICK)
    free = {*flags.resumable_fields(type(config)), "seed", "out", "resume"}
    names = [x.name for x in dataclasses.fields(config) if x.name not in free]
    with ReportRun(config, "weak_to_strong") as run:
        study = Study(config, run)
        cells = study_cells.measure_cells(
            run.folder,
            list(study.arms),
            range(config.seed, config.seed + config.seeds),
            study.measure,
            settings={name: getattr(config, name) for name in names},
            resume=config.resume,
        )
        summary = weak_to_strong_report.summarize(cells)
        recovered = weak_to_strong_report.recovered_gaps(cells)
        run.write_json("study.json", {"arms": summary, "recovered": recovered})
        if distributed.is_first():
            parts = weak_to_strong_report.sections(cells, recovered, run.folder)
            run.publish(Page("Weak to strong", parts, command))
        accuracies = {arm: values["right"] for arm, values in summary.items()}
        shares = {f"gap recovered, {arm}": x for arm, x in recovered.items()}
        return run.finish(accuracies | shares)


class Study:
    """The arms of the study, each a reward model that is trained when first needed."""

    def __init__(self, config: Config, run: ReportRun) -> None:
        self.config, self.run = config, run
        self.mesh = evaluation_mesh(config)
        self.pairs = weak_labels.true_pairs(config.seed, config.eval_pairs, test=True)
        # arm -> (seed) -> the folder of its reward model
        self.arms: dict[str, Callable[[int], Path]] = {
            WEAK: self.weak,
            CEILING: self.ceiling,
            STUDENT: partial(self.student, 0.0),
            **{
                f"{STUDENT}, confidence {x:g}": partial(self.student, x)
                for x in dict.fromkeys(config.confidences)
                if x
            },
            SHORT: partial(self.by_length, True),
            LONG: partial(self.by_length, False),
        }

    def start(self, seed: int) -> Path:
        """The folder of what the arms of a seed share."""
        return self.run.folder / f"seed-{seed}" / "start"

    def strong_policy(self, seed: int) -> Path:
        """The SFT policy that strong reward models start from."""
        stage = sft_stage.Config(steps=self.config.sft_steps)
        out = self.start(seed) / "sft"
        return run_stage(self.config, sft_stage.main, stage, out, seed) / "policy"

    def weak_policy(self, seed: int) -> Path:
        """The SFT policy that the weak reward model starts from."""
        strong = self.strong_policy(seed)
        if self.config.weak == "few":
            return strong
        teacher = load_policy(self.config, str(strong), self.mesh)
        new = student.save_student(self.start(seed) / "small", teacher, seed)
        stage = sft_stage.Config(model=str(new), steps=self.config.sft_steps)
        out = self.start(seed) / "small_sft"
        return run_stage(self.config, sft_stage.main, stage, out, seed) / "policy"

    def reward(self, model: Path, data: Path, seed: int, **own: Any) -> Path:
        """A reward model from a folder of pairs; returns its folder."""
        stage = reward_stage.Config(
            model=str(model),
            data=str(data),
            steps=self.config.reward_steps,
            normalize_samples=16,  # raw scores are read, which it does not change
            center=0.01,
            **own,
        )
        name = f"{data.name}_{own['confidence']:g}" if own else data.name
        out = self.start(seed) / "reward_models" / name
        return run_stage(self.config, reward_stage.main, stage, out, seed) / "reward"

    def data(self, seed: int, name: str, pairs: Any) -> Path:
        """A folder of pairs, written when it is first needed."""
        return weak_labels.write_pairs(self.start(seed) / "data" / name, seed, pairs)

    def weak(self, seed: int) -> Path:
        """The weak model, of the truth of the first half."""
        first, count = weak_labels.in_half(0), self.config.weak_pairs
        pairs = partial(weak_labels.true_pairs, seed, count, first)
        return self.reward(self.weak_policy(seed), self.data(seed, "weak", pairs), seed)

    def second_half(self, seed: int) -> list[Preference]:
        """The pairs of the second half, with the truth."""
        second = weak_labels.in_half(1)
        return weak_labels.true_pairs(seed, self.config.pairs, second)

    def ceiling(self, seed: int) -> Path:
        """The strong model, of the truth of the second half."""
        data = self.data(seed, "truth", partial(self.second_half, seed))
        return self.reward(self.strong_policy(seed), data, seed)

    def student(self, confidence: float, seed: int) -> Path:
        """The strong model, of the weak model's labels of the second half."""
        label = lambda: weak_labels.weak_labeled(
            self.scorer(self.weak(seed)), self.second_half(seed)
        )
        own = {"soft_labels": True, "confidence": confidence}
        data = self.data(seed, "weak_labels", label)
        return self.reward(self.strong_policy(seed), data, seed, **own)

    def by_length(self, short: bool, seed: int) -> Path:
        """The strong model, of the truth of short or of long pairs; as many of both."""
        keep = lambda pair: (
            weak_labels.half_of(pair) == 1 and (self.is_short(pair) == short)
        )
        pairs = partial(weak_labels.true_pairs, seed, self.config.pairs // 2, keep)
        data = self.data(seed, "short" if short else "long", pairs)
        return self.reward(self.strong_policy(seed), data, seed)

    def is_short(self, pair: Preference) -> bool:
        """Whether both answers are short."""
        return weak_labels.longest_answer(pair) <= self.config.short_words

    def scorer(self, folder: Path) -> Scorer:
        """The raw scores of a reward model."""
        return reward_scores.raw_scorer(folder, self.config, self.mesh)

    def measure(self, arm: str, seed: int, folder: Path) -> dict[str, np.ndarray]:
        """Of each held-out pair, what an arm and the weak model make of it [P]."""
        right = self.is_right(self.arms[arm](seed))
        weak = self.is_right(self.weak(seed))
        agrees = 1.0 - np.abs(right - weak)
        short = np.array([self.is_short(pair) for pair in self.pairs])
        return {
            "right": right,
            "agrees": agrees,
            "follows": np.where(weak < 0.5, agrees, np.nan),
            "short": np.where(short, right, np.nan),
            "long": np.where(short, np.nan, right),
        }

    def is_right(self, folder: Path) -> np.ndarray:
        """1 where the better answer has the higher score, 1/2 of equal ones [P]."""
        scores = reward_scores.pair_scores(self.scorer(folder), self.pairs)
        return 0.5 + 0.5 * np.sign(scores[:, 0] - scores[:, 1])


if __name__ == "__main__":
    launch(main, Config)
