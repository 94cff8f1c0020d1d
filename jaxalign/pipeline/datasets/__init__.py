"""Data sets by name, and files of the user's own, as `--data` has them.

toy        the toy world: endless, with a programmed true reward
hh-rlhf    Anthropic's dialogues, in the folder --data-path
stories    a text file of stories, --data-path; prompts are their beginnings, and the
           programmed reward likes happy endings, or a length
gsm8k      problems with worked answers, in the file or folder --data-path; the
           programmed reward is whether the final number is right
alpaca, ultrafeedback, shp, helpsteer2, tldr
           published sets, in the file or folder --data-path
ORG/NAME   a data set of a hub (its Parquet and JSON-lines files), where no file has
           that path
tfds:NAME  a prepared data set of tensorflow_datasets, in --data-path where given
PATH       a file of records: JSON (lines, a list, or an object that holds one), CSV,
           Parquet, Arrow or ArrayRecord, texts also compressed, here or in a bucket
           (gs://, s3://, hf://datasets/...); a folder with the files or shards of its
           splits, as the hub and `save_to_disk` have them; or a pattern of one kind of
           them, such as 'FOLDER/data/*_prefs-*'
STUDY      the folder of a study (`experiments.annotate`): what people judged
PATH=WEIGHT,...
           a mixture: whatever is read (SFT data, pairs, rankings, unpaired answers,
           prompts of RL) has its share of each
"""

from jaxalign.pipeline.datasets.dataset import Dataset, check_held_out
from jaxalign.pipeline.datasets.registry import is_named, load
from jaxalign.pipeline.datasets.rule_based import (
    RewardValues,
    RuleBasedReward,
    check_finite,
    reward_by_name,
    with_finite_check,
)
from jaxalign.pipeline.datasets.tokenized import (
    tokenize_records,
    tokenized_pairs,
    tokenized_unpaired,
)
from jaxalign.runtime.data_report import summary

__all__ = [
    "Dataset",
    "RewardValues",
    "RuleBasedReward",
    "check_finite",
    "check_held_out",
    "is_named",
    "load",
    "reward_by_name",
    "summary",
    "tokenize_records",
    "tokenized_pairs",
    "tokenized_unpaired",
    "with_finite_check",
]
