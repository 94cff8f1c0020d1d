"""Records of a data set written by tensorflow_datasets."""

import numpy as np
import pytest

from jaxalign.data import readers
from jaxalign.data.records import Demonstration, Preference, Unpaired

tfds = pytest.importorskip("tensorflow_datasets")

ROWS = [
    {"prompt": "é?", "chosen": "yes", "rejected": "no", "margin": 1.5, "label": True},
    {"prompt": "2 + 2", "chosen": "4", "rejected": "5", "margin": 0.0, "label": False},
]


class ToyBuilder(tfds.core.GeneratorBasedBuilder):
    """Two rows, with messages beside the texts."""

    VERSION = tfds.core.Version("1.0.0")
    # a class of a package would make it look for importlib_resources, which it lacks
    code_path = None

    def _info(self):
        text = tfds.features.Text()
        features = tfds.features.FeaturesDict(
            {
                "prompt": text,
                "chosen": text,
                "rejected": text,
                "margin": tfds.features.Scalar(np.float32),
                "label": tfds.features.Scalar(np.bool_),
                "messages": tfds.features.Sequence({"role": text, "content": text}),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i, row in enumerate(ROWS):
            talk = [("user", row["prompt"]), ("assistant", row["chosen"])]
            messages = [{"role": r, "content": c} for r, c in talk]
            yield i, row | {"messages": messages}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    builder = ToyBuilder(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return builder.as_data_source(split="train")


def test_a_source_gives_the_same_records_as_files(source):
    pairs, report = readers.from_tfds(source, Preference, name="written")
    assert str(report) == "2 of 2 rows"
    answers = {p.prompt[0]["content"]: (p.chosen, p.rejected, p.margin) for p in pairs}
    assert answers == {"é?": ("yes", "no", 1.5), "2 + 2": ("4", "5", 0.0)}
    assert [p.location for p in pairs] == ["written:0", "written:1"]


def test_messages_and_labels(source):
    rows = [{"messages": row["messages"], "label": row["label"]} for row in source]
    examples, report = readers.from_tfds(rows, Demonstration)
    # SFT does not imitate answers labeled false
    assert [[m["content"] for m in t.messages] for t in examples] == [["é?", "yes"]]
    assert str(report) == "1 of 2 rows (1 with an answer labeled false)"
    answers, _ = readers.from_tfds(rows, Unpaired)
    assert {(t.answer, t.desirable) for t in answers} == {("yes", True), ("4", False)}
