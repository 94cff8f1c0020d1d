import gzip
import json

import pytest

from jaxalign.data import hh_rlhf, readers
from jaxalign.data.records import Preference, row_number
from jaxalign.data.schemas import hh_dialogue

# number of rows
FILES = {
    "harmless-base": 2312,
    "helpful-base": 2354,
    "helpful-online": 1137,
    "helpful-rejection-sampled": 2749,
}


def row(chosen, rejected):
    return {"chosen": chosen, "rejected": rejected}


def test_a_dialogue_is_its_turns():
    text = (
        "\n\nHuman: Hi\n\nthere \n\nAssistant: Oh: Human: you\n\nHuman:\n\nAssistant: x"
    )
    turns = [(m["role"], m["content"]) for m in hh_dialogue.parse_dialogue(text)]
    assert turns == [
        ("user", "Hi\n\nthere"),
        ("assistant", "Oh: Human: you"),
        ("user", ""),
        ("assistant", "x"),
    ]


def test_an_answer_of_several_turns_is_merged():
    chosen = "\n\nHuman: q\n\nAssistant: wait\n\nAssistant: a"
    irregular = row(chosen, "\n\nHuman: q\n\nAssistant: b")
    pair = hh_dialogue.parse_dialogue_pair(irregular, "f:1")
    prompt = [{"role": "user", "content": "q"}]
    assert pair == Preference(prompt, "wait\n\na", "b", 0.0, "f:1")
    assert hh_dialogue.find_irregularity(irregular)
    assert not hh_dialogue.find_irregularity(row(chosen, chosen))


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: q\n\nAssistant: a", "identical"),
        ("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: q\n\nAssistant: ", "empty"),
        ("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: r\n\nAssistant: a", "prompts"),
        ("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: q", "do not end"),
        ("\n\nHuman: q\n\nAssistant: a", "q: b", "do not begin"),
    ],
)
def test_unusable_rows_are_counted(chosen, rejected, reason, tmp_path, jsonl):
    good = row("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: q\n\nAssistant: b")
    path = jsonl(tmp_path / "rows.jsonl", row(chosen, rejected), good)
    records, report = readers.read(path, Preference)
    assert [r.location for r in records] == [f"{path}:2"]
    ((name, count),) = report.reasons.items()
    assert count == 1 and reason in name


def test_the_public_files_and_their_irregularities(public_data):
    splits = hh_rlhf.load(public_data / "hh-rlhf")
    assert splits.report.total == sum(FILES.values()) == 8552
    assert splits.report.reasons == {
        "with identical texts": 36,
        "with an empty last turn": 11,
        "differ before the last turn (joined, kept)": 17,
        "that do not end with the assistant": 2,
    }
    assert splits.report.usable == 8552 - 36 - 11 - 2
    assert len(splits.train) + len(splits.held_out) == splits.report.usable

    def of(part, name):
        lines = [row_number(r) for r in part if f"/{name}/" in r.location]
        return (min(lines), max(lines)) if lines else None

    # 90 % of the 2312 lines of harmless-base are the first 2080
    first, last = of(splits.train, "harmless-base")
    assert first == 1 and 2070 < last <= 2080
    first, last = of(splits.held_out, "harmless-base")
    assert 2080 < first < 2090 and last == 2312
    assert of(splits.held_out, "helpful-base") == (1, 2354)
    assert of(splits.train, "helpful-base") is None
    for name in ("helpful-online", "helpful-rejection-sampled"):
        assert of(splits.held_out, name) is None and of(splits.train, name)
    train, held_out = ({json.dumps(r.prompt) for r in part} for part in splits[:2])
    assert not train & held_out


def test_training_files_are_used_where_they_are(tmp_path):
    for name in hh_rlhf.SUBSETS:
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            text = f"\n\nHuman: {name} {split}\n\nAssistant: "
            with gzip.open(tmp_path / name / f"{split}.jsonl.gz", "wt") as file:
                file.write(json.dumps(row(text + "a", text + "b")) + "\n")
    splits = hh_rlhf.load(tmp_path)
    sources = [
        [r.prompt[0]["content"].split()[-1] for r in part] for part in splits[:2]
    ]
    assert sources == [["train"] * 4, ["test"] * 4]
    (tmp_path / "helpful-base" / "train.jsonl.gz").unlink()
    with pytest.raises(FileNotFoundError, match="helpful-base/train.jsonl.gz"):
        hh_rlhf.load(tmp_path)


def test_a_folder_without_the_files_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="helpful-online/test.jsonl.gz"):
        hh_rlhf.load(tmp_path)
