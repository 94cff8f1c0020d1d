"""The settings of a study: what is asked, of how many people, and in which order."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxalign.feedback.judgements import LEVELS

KINDS = {"pairwise": "pair", "ranking": "ranking", "rating": "rating", "arena": "pair"}
"""What people do -> the kind of its items."""
TITLES = {
    "pairwise": "Which answer is better?",
    "ranking": "Rank the answers",
    "rating": "Rate the answers",
    "arena": "Arena",
}
SCALE = ("kind", "levels", "ties", "both_bad", "safety")
"""Settings that say what a judgement means, and stay as they were."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a study.

    Attributes:
      kind: "pairwise", "ranking", "rating" or "arena".
      levels: of the scale of pairs: 2, 3, 4 or 8.
      ties, both_bad: whether a pair may be judged so.
      safety: whether each answer is also judged safe or unsafe.
      overlap: people who judge each item.
      gold_share: share of the shown items that test the annotator, while there are any.
      gold_feedback: whether the annotator is told the expected answer afterwards.
      repeat: share of the items that an annotator judges twice, in another order.
      choice: of the next item: "fixed", "random" or "active".
      random_share: of an active choice, the share that is random.
      lease: s after which the item of an annotator who does nothing goes to others.
      break_after: minutes of work after which a break is suggested; 0 for never.
      title: of the page; by default the question of the kind.
      guidelines: for annotators, as Markdown.
      seed: of the gold items' places, and of the items that are repeated.
    """

    kind: str = "pairwise"
    levels: int = 8
    ties: bool = False
    both_bad: bool = False
    safety: bool = False
    overlap: int = 1
    gold_share: float = 0.1
    gold_feedback: bool = False
    repeat: float = 0.0
    choice: str = "fixed"
    random_share: float = 0.2
    lease: float = 1800.0
    break_after: float = 45.0
    title: str = ""
    guidelines: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r}: expected one of {', '.join(KINDS)}")
        if self.levels not in LEVELS:
            raise ValueError(f"levels {self.levels}: expected one of 2, 3, 4, 8")

    @property
    def heading(self) -> str:
        """The title, or the question of the kind."""
        return self.title or TITLES[self.kind]

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return dataclasses.asdict(self)


def check_scale(settings: Settings, stored: Mapping[str, Any]) -> None:
    """Refuses settings that would change the meaning of a study's judgements.

    Args:
      stored: the settings that the study was created with.

    Raises:
      ValueError: names the settings that differ.
    """
    own = settings.to_json()
    differ = [name for name in SCALE if name in stored and stored[name] != own[name]]
    if differ:
        was = ", ".join(f"{name} {stored[name]}" for name in differ)
        now = ", ".join(f"{name} {own[name]}" for name in differ)
        raise ValueError(
            f"the study was begun with {was}, and is now asked for {now}: judgements "
            "of two scales do not mix; choose another folder"
        )
