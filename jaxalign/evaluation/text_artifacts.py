"""Artifacts in texts of training data: remains of templates, boilerplate, damage.

What only the chosen or only the rejected answers have, a reward model learns instead
of quality; special tokens in a text end turns that have not ended.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

SPECIAL_TOKEN = "special token of a template"
PATTERNS: dict[str, re.Pattern[str]] = {
    SPECIAL_TOKEN: re.compile(
        r"<\|[a-z_]{2,24}\|>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|</s>"
        r"|<[｜|](?:User|Assistant)[｜|]>"
    ),
    "turn marker in the text": re.compile(
        r"(?:^|\n)[ \t]*(?:Human|Assistant|User|ASSISTANT|USER) ?:(?=\s)"
    ),
    "header of an instruction template": re.compile(
        r"(?:^|\n)#{2,3} ?(?:Instruction|Response|Input|Human|Assistant) ?:"
    ),
    '"as an AI language model"': re.compile(
        r"\bas (?:an? )?(?:AI|artificial intelligence)(?: language)?"
        r"(?: model| assistant)?\b",
        re.IGNORECASE,
    ),
    "HTML entity": re.compile(r"&(?:amp|lt|gt|quot|nbsp|#\d{1,5});"),
    "wrongly decoded text": re.compile("\ufffd|â€[™œ\u009d“”¦]|Ã[©¨¼¶¤±³¡]"),
    "empty text": re.compile(r"\A\s*\Z"),
}


class ArtifactCount(NamedTuple):
    """How often a pattern occurs in one kind of text.

    Attributes:
      texts: number of texts with the pattern.
      share: of all texts of the kind.
      first: index of the first of them.
    """

    texts: int
    share: float
    first: int


def artifact_counts(texts: Sequence[str]) -> dict[str, ArtifactCount]:
    """The patterns that occur in some of the texts, with counts.

    >>> artifact_counts(["Hi", "Sure.<|im_end|>"])
    {'special token of a template': ArtifactCount(texts=1, share=0.5, first=1)}
    """
    found = {}
    for name, pattern in PATTERNS.items():
        matches = np.flatnonzero([pattern.search(text) is not None for text in texts])
        if len(matches):
            share = len(matches) / len(texts)
            found[name] = ArtifactCount(len(matches), share, int(matches[0]))
    return found


def artifact_rows(
    texts: Mapping[str, Sequence[str]], locations: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """A table of the artifacts of each kind of text.

    Args:
      texts: by kind, such as "chosen" [R] each.
      locations: FILE:LINE of each text, by kind [R] each.
    """
    rows = []
    for kind, values in texts.items():
        for name, count in artifact_counts(values).items():
            rows.append(
                {
                    "in": kind,
                    "what": name,
                    "texts": count.texts,
                    "share": count.share,
                    "first at": locations[kind][count.first],
                }
            )
    return sorted(rows, key=lambda row: -row["texts"])
