"""The data that experiments know by name, and files of the user's own.

toy        the toy world: endless, with a programmed true reward
hh-rlhf    Anthropic's dialogues, in the folder --data-path
stories    a text file of stories, --data-path; prompts are their beginnings, and the
           programmed reward likes happy endings, or a length
PATH       a file of records, or a folder with train and test files
"""

from experiments.sources.choice import load
from experiments.sources.source import (
    Judge,
    Judged,
    Noting,
    Source,
    judge_of,
    pairs,
    tokenised,
)

__all__ = [
    "Judge",
    "Judged",
    "Noting",
    "Source",
    "judge_of",
    "load",
    "pairs",
    "tokenised",
]
