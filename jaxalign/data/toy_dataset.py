"""The toy world as a data set of tensorflow_datasets, on disk and random-access.

Row i of a split is the toy world's index i. TensorFlow is not needed.
"""

import dataclasses
import inspect
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxalign.data import toy_requests, toy_topics, toy_world

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ToySpec:
    """What a data set is made from; any change makes another one.

    Attributes:
      kind: demonstrations, preferences or prompts.
      train: rows of the training split.
      test: rows of the test split, whose requests are in no training split.
      temperature: of the labels of preferences.
      group: whose preferences.
    """

    kind: str
    train: int = 10_000
    test: int = 1_000
    seed: int = 0
    temperature: float = 1.0
    group: str = "all"

    @property
    def name(self) -> str:
        """A name of its own, so that no rows made otherwise are ever found under it."""
        modules = (toy_topics, toy_requests, toy_world)
        world = zlib.crc32("".join(map(inspect.getsource, modules)).encode())
        parts = [self.kind, self.train, self.test, f"seed{self.seed}"]
        if self.kind == "preferences":
            parts += [self.group, self.temperature]
        return "-".join(map(str, [*parts, f"{world:08x}"]))


def demonstration(making: ToySpec, index: int, test: bool) -> Row:
    """A prompt, and an answer of mixed quality."""
    asked, told = toy_world.demonstration(making.seed, index, test=test).messages
    return {"prompt": asked["content"], "completion": told["content"]}


def preference(making: ToySpec, index: int, test: bool) -> Row:
    """A prompt, two answers, and how probable this order of them was."""
    pair, p = toy_world.preference(
        making.seed,
        index,
        temperature=making.temperature,
        group=making.group,
        test=test,
    )
    return {
        "prompt": pair.prompt[-1]["content"],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "p_chosen": p,
    }


def prompt(making: ToySpec, index: int, test: bool) -> Row:
    """A prompt, and what the judge needs (see `request`)."""
    asked = toy_world.request(making.seed, index, test=test)
    return {
        "prompt": asked.text,
        "kind": asked.kind,
        "right": asked.answer,
        "wrong": list(asked.wrong),
        "novelty": asked.novelty,
    }


ROWS: dict[str, Callable[[ToySpec, int, bool], Row]] = {
    "demonstrations": demonstration,
    "preferences": preference,
    "prompts": prompt,
}
TEXT = tfds.features.Text()
FEATURES = {
    "demonstrations": {"prompt": TEXT, "completion": TEXT},
    "preferences": {
        "prompt": TEXT,
        "chosen": TEXT,
        "rejected": TEXT,
        "p_chosen": tfds.features.Scalar(np.float32),
    },
    "prompts": {
        "prompt": TEXT,
        "kind": TEXT,
        "right": TEXT,
        "wrong": tfds.features.Sequence(TEXT),
        "novelty": TEXT,
    },
}


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """A builder's config: what its rows are made from."""

    making: ToySpec = ToySpec("demonstrations")


class ToyWorld(tfds.core.GeneratorBasedBuilder):
    """Demonstrations, preferences and prompts of the toy world."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [Config(name=kind, making=ToySpec(kind)) for kind in ROWS]
    # with a path it would look for the package's files through importlib_resources
    code_path = None

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.getdoc(toy_world),
            features=tfds.features.FeaturesDict(
                FEATURES[self.builder_config.making.kind]
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        making = self.builder_config.making
        return {
            "train": self._generate_examples(making.train, test=False),
            "test": self._generate_examples(making.test, test=True),
        }

    def _generate_examples(self, count: int, *, test: bool) -> Iterator[Any]:
        making = self.builder_config.making
        for index in range(count):
            yield index, ROWS[making.kind](making, index, test)


def load(
    data_dir: str | os.PathLike[str], making: ToySpec, *, split: str = "train"
) -> Sequence[Row]:
    """The rows of a split, made where they are not there yet; texts are bytes.

    `formats.from_tfds` reads them as records.

    Args:
      split: train or test, or a part of one, such as "train[:90%]".

    Raises:
      ValueError: an unknown kind or group, or no rows in a split.
    """
    if making.kind not in ROWS:
        raise ValueError(f"kind should be one of {list(ROWS)}, not {making.kind!r}")
    if making.group not in toy_world.GROUPS:
        groups = list(toy_world.GROUPS)
        raise ValueError(f"group should be one of {groups}, not {making.group!r}")
    if min(making.train, making.test) < 1:
        raise ValueError("each split needs a row: train and test should be at least 1")
    builder = ToyWorld(
        data_dir=data_dir,
        config=Config(name=making.name, making=making),
        file_format="array_record",
    )
    builder.download_and_prepare()
    return builder.as_data_source(split=split)


def request(row: Row) -> toy_world.Request:
    """The request that a row of prompts holds, for `toy_world.true_rewards`."""
    return toy_world.Request(
        row["prompt"].decode(),
        row["kind"].decode(),
        row["right"].decode(),
        tuple(text.decode() for text in row["wrong"]),
        row["novelty"].decode(),
    )
