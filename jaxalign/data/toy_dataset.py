"""The toy world as a data set of tensorflow_datasets, random-access on disk.

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

from jaxalign.data import toy_answers, toy_requests, toy_topics, toy_world

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ToySpec:
    """The parameters of a toy data set; any change makes another one.

    Attributes:
      kind: demonstrations (SFT data), preferences or prompts.
      train: rows of the training split.
      test: rows of the test split, whose requests are in no training split.
      temperature: of the labels of preferences, above 0.
      group: of the annotators of preferences, one of `toy_world.GROUPS`.
    """

    kind: str
    train: int = 10_000
    test: int = 1_000
    seed: int = 0
    temperature: float = 1.0
    group: str = "all"

    @property
    def name(self) -> str:
        """A name that no data set of other parameters or code has."""
        modules = (toy_topics, toy_requests, toy_answers, toy_world)
        world = zlib.crc32("".join(map(inspect.getsource, modules)).encode())
        parts = [self.kind, self.train, self.test, f"seed{self.seed}"]
        if self.kind == "preferences":
            parts += [self.group, self.temperature]
        return "-".join(map(str, [*parts, f"{world:08x}"]))


def demonstration(spec: ToySpec, index: int, test: bool) -> Row:
    """A row of SFT data: a prompt, and an answer of mixed quality."""
    user, assistant = toy_world.demonstration(spec.seed, index, test=test).messages
    return {"prompt": user["content"], "completion": assistant["content"]}


def preference(spec: ToySpec, index: int, test: bool) -> Row:
    """A prompt, two answers, and the probability of this label."""
    pair, p = toy_world.preference(
        spec.seed,
        index,
        temperature=spec.temperature,
        group=spec.group,
        test=test,
    )
    return {
        "prompt": pair.prompt[-1]["content"],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "p_chosen": p,
    }


def prompt(spec: ToySpec, index: int, test: bool) -> Row:
    """A prompt, and the fields that its true reward needs (see `request`)."""
    request = toy_world.request(spec.seed, index, test=test)
    return {
        "prompt": request.text,
        "kind": request.kind,
        "right": request.answer,
        "wrong": list(request.wrong),
        "novelty": request.novelty,
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
    """A builder's config, with the parameters of its rows."""

    spec: ToySpec = ToySpec("demonstrations")


class ToyWorld(tfds.core.GeneratorBasedBuilder):
    """SFT data, preferences and prompts of the toy world."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [Config(name=kind, spec=ToySpec(kind)) for kind in ROWS]
    # with a path it would look for the package's files through importlib_resources
    code_path = None

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.getdoc(toy_world),
            features=tfds.features.FeaturesDict(
                FEATURES[self.builder_config.spec.kind]
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        spec = self.builder_config.spec
        return {
            "train": self._generate_examples(spec.train, test=False),
            "test": self._generate_examples(spec.test, test=True),
        }

    def _generate_examples(self, count: int, *, test: bool) -> Iterator[Any]:
        spec = self.builder_config.spec
        for index in range(count):
            yield index, ROWS[spec.kind](spec, index, test)


def load(
    data_dir: str | os.PathLike[str], spec: ToySpec, *, split: str = "train"
) -> Sequence[Row]:
    """The rows of a split, generated where they do not exist yet; texts are bytes.

    `readers.from_tfds` reads them as records.

    Args:
      split: train or test, or a part of one, such as "train[:90%]".

    Raises:
      ValueError: an unknown kind or group, or no rows in a split.
    """
    if spec.kind not in ROWS:
        raise ValueError(f"kind should be one of {list(ROWS)}, not {spec.kind!r}")
    if spec.group not in toy_world.GROUPS:
        groups = list(toy_world.GROUPS)
        raise ValueError(f"group should be one of {groups}, not {spec.group!r}")
    if min(spec.train, spec.test) < 1:
        raise ValueError("each split needs a row: train and test should be at least 1")
    builder = ToyWorld(
        data_dir=data_dir,
        config=Config(name=spec.name, spec=spec),
        file_format="array_record",
    )
    builder.download_and_prepare()
    return builder.as_data_source(split=split)


def request(row: Row) -> toy_world.Request:
    """The request of a row of prompts, for `toy_world.true_rewards`."""
    return toy_world.Request(
        row["prompt"].decode(),
        row["kind"].decode(),
        row["right"].decode(),
        tuple(text.decode() for text in row["wrong"]),
        row["novelty"].decode(),
    )
