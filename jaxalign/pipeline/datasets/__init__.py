"""The data that experiments know by name, and files of the user's own.

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
tfds:NAME  a prepared data set of tensorflow_datasets, in --data-path if told
PATH       a file of records: JSON (lines, a list, or an object that holds one), CSV,
           Parquet, Arrow or ArrayRecord, texts also compressed, here or in a bucket
           (gs://, s3://, hf://datasets/...); a folder with the files or shards of its
           splits, as the hub and `save_to_disk` have them; or a pattern of one kind of
           them, such as 'FOLDER/data/*_prefs-*'
PATH=WEIGHT,...
           a mixture: whatever is read (SFT data, pairs, rankings, unpaired answers,
           prompts of RL) has its share of each
"""

from jaxalign.pipeline.datasets.dataset import (
    Dataset,
    Noting,
    check_held_out,
    require_reward,
    tokenize_records,
)
from jaxalign.pipeline.datasets.registry import load
from jaxalign.pipeline.datasets.rule_based import (
    RewardValues,
    RuleBasedReward,
    check_finite,
    reward_by_name,
    with_finite_check,
)
from jaxalign.pipeline.datasets.tokenized import tokenized_pairs, tokenized_unpaired
from jaxalign.runtime.data_report import summary

__all__ = [
    "RuleBasedReward",
    "RewardValues",
    "Noting",
    "Dataset",
    "reward_by_name",
    "check_held_out",
    "with_finite_check",
    "check_finite",
    "require_reward",
    "load",
    "tokenized_pairs",
    "summary",
    "tokenize_records",
    "tokenized_unpaired",
]
