"""What `--data` may name, and what comes of it."""

import json

import numpy as np
import pytest

from experiments import sources
from experiments.config import Shared
from experiments.sources.choice import NAMED, PUBLISHED
from tests.data.test_tfds import Written


@pytest.fixture
def shp(tmp_path):
    """A file of twenty comparisons."""
    row = {"human_ref_A": "best", "human_ref_B": "poor", "labels": 1}
    rows = [row | {"history": f"q{i}"} for i in range(20)]
    path = tmp_path / "shp.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_published_set_by_its_name_and_by_its_file(shp):
    named = sources.load(Shared(data="shp", data_path=str(shp)))
    assert named.name == "shp"
    train, held_out = named.preferences()
    assert (len(train), len(held_out)) == (18, 2)
    assert not {p.where for p in train} & {p.where for p in held_out}
    assert [p.prompt[0]["content"] for p in held_out] == ["q9", "q19"]
    assert named.preferences() == sources.load(Shared(data=str(shp))).preferences()


@pytest.mark.parametrize("name", [*NAMED, *PUBLISHED])
def test_named_sets_need_a_path_that_exists(name, tmp_path):
    with pytest.raises(ValueError, match=f"--data {name} needs --data-path"):
        sources.load(Shared(data=name))
    with pytest.raises(FileNotFoundError, match="--data-path .*nowhere does not exist"):
        sources.load(Shared(data=name, data_path=str(tmp_path / "nowhere")))


def test_a_folder_has_its_own_splits(shp, tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    shp.rename(folder / "train.jsonl")
    with pytest.raises(FileNotFoundError, match="both holds no test.jsonl"):
        sources.load(Shared(data=str(folder))).preferences()
    (folder / "test.jsonl").write_text((folder / "train.jsonl").read_text())
    train, held_out = sources.load(Shared(data=str(folder))).preferences()
    assert len(train) == len(held_out) == 20


def test_gsm8k_rewards_the_right_number(public_data):
    path = public_data / "gsm8k" / "test.jsonl"
    source = sources.load(Shared(data="gsm8k", data_path=str(path)))
    prompts, _ = source.prompts()
    # the first problem's published answer is 18
    texts = ["9 * 2 = 18\n#### 18", "#### $18", "18", "#### 19", "#### 1\n#### 18"]
    judged = sources.judge_of(source)([prompts[0]] * 5, texts, np.ones(5, bool))
    assert judged["reward"].tolist() == [1, 0, 0, 0, 1]
    answers = [d.messages[-1]["content"] for d in source.demonstrations()]
    judged = sources.judge_of(source)(prompts, answers, np.ones(len(answers), bool))
    assert judged["reward"].all() and len(answers) == len(prompts)


def test_a_prepared_data_set_of_tfds(tmp_path):
    config = Shared(data="tfds:written", data_path=str(tmp_path))
    with pytest.raises(ValueError, match="(?s)tfds:written cannot .*prepare it"):
        sources.load(config)
    Written(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    train, held_out = sources.load(config).preferences()
    assert {p.chosen for p in train} == {"yes", "4"}
    assert held_out == train[-1:]
    with pytest.raises(ValueError, match="tfds:nothing cannot be read"):
        sources.load(Shared(data="tfds:nothing"))
