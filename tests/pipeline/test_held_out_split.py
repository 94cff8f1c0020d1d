"""No prompt that is held out is trained on, for any layout, source, order or flag."""

import dataclasses
import json
import re
import types

import numpy as np
import pytest

from jaxalign.data import dataset_ops, token_cache
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking
from jaxalign.data.records import ranking_pairs as pairs_of
from jaxalign.pipeline import datasets
from jaxalign.pipeline.datasets import record_splits
from jaxalign.runtime.config import RunConfig
from tests.support import quick

PROMPTS, COPIES = 60, 6


def said(*turns):
    roles = ["user", "assistant"] * len(turns)
    return [{"role": r, "content": t} for r, t in zip(roles, turns, strict=False)]


def asked(i, k):
    """The i-th prompt, in the k-th spelling."""
    return (f"q{i} why?", f" Q{i}  WHY?", f"q{i}\nwhy?")[k % 3]


def rows_of(layout, i, k):
    """The k-th row of the i-th prompt."""
    text, good, bad = asked(i, k), f"good {k}", f"bad {k}"
    turns = (text, "hm", "go on") if k % 2 else (text,)  # contexts with one beginning
    talk = said(*turns)
    scores = [3.0, 3.0, 3.0, 2.0] if (i + k) % 4 == 0 else [4.0, 3.0, 2.0, 1.0]
    replies = [{"text": t, "role": "assistant", "rank": n} for n, t in enumerate("abc")]
    return {
        "prompt": {"prompt": talk, "completion": good},
        "messages": {"messages": [*talk, *said("", good)[1:]]},
        "instruction": {"instruction": text, "output": good},
        "question": {"question": text, "answer": good},
        "sharegpt": {
            "conversations": [
                {"from": ("human", "gpt")[n % 2], "value": t}
                for n, t in enumerate((*turns, good))
            ]
        },
        "pair": {"prompt": talk, "chosen": good, "rejected": bad},
        "talks": {
            "chosen": [*talk, {"role": "assistant", "content": good}],
            "rejected": [*talk, {"role": "assistant", "content": bad}],
        },
        "dialogues": {
            "chosen": f"\n\nHuman: {text.strip()}\n\nAssistant: {good}",
            "rejected": f"\n\nHuman: {text.strip()}\n\nAssistant: {bad}",
        },
        "answers": {"prompt": talk, "answers": [good, "so so", bad]},
        "tree": {"prompt": {"text": text, "role": "prompter", "replies": replies}},
        "unpaired": {"prompt": talk, "completion": good, "label": bool(k % 2)},
        "reference": {"prompt": talk, "reference": good},
        "ultrafeedback": {
            "instruction": text,
            "completions": [
                {"response": f"{t} {k}", "overall_score": s}
                for t, s in zip("abcd", scores, strict=True)
            ],
        },
        "shp": {"history": text, "human_ref_A": good, "human_ref_B": bad, "labels": 1},
        "helpsteer2": {
            "prompt": text,
            "response_1": good,
            "response_2": bad,
            "preference_strength": -1,
        },
        "tldr": {
            "info": {"post": text, "title": "", "subreddit": ""},
            "summaries": [{"text": good}, {"text": bad}],
            "choice": 0,
        },
    }[layout]


LAYOUTS = (
    *("prompt", "messages", "instruction", "question", "sharegpt", "pair", "talks"),
    *("dialogues", "answers", "tree", "unpaired", "reference", "ultrafeedback"),
    *("shp", "helpsteer2", "tldr"),
)
COMPARED = ("pair", "talks", "dialogues", "answers", "tree", "ultrafeedback")
COMPARED += ("shp", "helpsteer2", "tldr")


def write(path, layout, *, order=None, bad=()):
    """A file of `COPIES` rows a prompt; at the places in `bad`, malformed rows."""
    rows = [rows_of(layout, i, k) for k in range(COPIES) for i in range(PROMPTS)]
    rows = rows if order is None else [rows[i] for i in order]
    lines = [json.dumps(row) for row in rows]
    for at in bad:
        lines.insert(at, '{"prompt": 3}')
    path.write_text("\n".join(lines) + "\n")
    return path


def first_messages(records):
    """The number of the prompt in each record's first message."""
    found = set()
    for record in records:
        one = isinstance(record, Prompt | Demonstration)
        messages = record.messages if one else record.prompt
        found.add(int(re.search(r"q(\d+)", messages[0]["content"].lower())[1]))
    return found


def sides(source, layout):
    """The prompts in training, and those held out, over all kinds of records."""
    kinds = [source.prompts]
    if layout != "reference":
        kinds.append(source.demonstrations)
    if layout in COMPARED:
        kinds += [source.preferences]
    if source.has_rankings:
        kinds += [source.rankings]
    found = [tuple(map(first_messages, kind())) for kind in kinds]
    train = set.union(*(train for train, _ in found))
    held_out = set.union(*(held for _, held in found))
    assert held_out and train | held_out == set(range(PROMPTS))
    return train, held_out


def load(path, **flags):
    return datasets.load(RunConfig(data=str(path), **flags))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_layout_trains_on_a_held_out_prompt(layout, tmp_path):
    train, held_out = sides(load(write(tmp_path / "a.jsonl", layout)), layout)
    assert not train & held_out
    # neither the order of the rows nor what is skipped moves the split
    order = np.random.default_rng(0).permutation(PROMPTS * COPIES)
    other = write(tmp_path / "b.jsonl", layout, order=order, bad=(0, 3, 50))
    again = sides(load(other, skip_bad_rows=True), layout)
    assert again == (train, held_out)
    # another share or seed holds out others
    assert (
        sides(load(other, skip_bad_rows=True, held_out_seed=1), layout)[1] != held_out
    )
    assert sides(load(other, skip_bad_rows=True, held_out=0.5), layout)[1] > held_out


def test_a_tie_in_the_first_row_changes_nothing(tmp_path):
    order = [*range(PROMPTS * COPIES)]
    first = load(write(tmp_path / "tie.jsonl", "ultrafeedback"))  # row 0 has a tie
    tied, plain = order.index(0), order.index(1)
    order[tied], order[plain] = order[plain], order[tied]
    other = load(write(tmp_path / "plain.jsonl", "ultrafeedback", order=order))
    for source in (first, other):
        assert source.has_rankings
        train, held_out = source.rankings()
        assert any(len(r.answers) == 2 for r in train)
        assert source.preferences() == (pairs_of(train), pairs_of(held_out))
    assert sides(first, "ultrafeedback") == sides(other, "ultrafeedback")


@pytest.mark.parametrize("first, second", [("pair", "answers"), ("talks", "shp")])
def test_no_mixture_trains_on_what_a_part_holds_out(first, second, tmp_path):
    """Also where a part states a split of its own, which the rule would not make."""
    one = write(tmp_path / "one.jsonl", first)
    folder = tmp_path / "two"
    folder.mkdir()
    rows = [rows_of(second, i, 0) for i in range(PROMPTS)]
    text = ["\n".join(map(json.dumps, part)) for part in (rows[:40], rows[40:])]
    (folder / "train.jsonl").write_text(text[0])
    (folder / "test.jsonl").write_text(text[1])
    rule = sides(load(one), first)[1]
    source = load(f"{one}=1,{folder}=3")
    train, held_out = sides(source, first)
    assert not train & held_out and held_out == rule | set(range(40, PROMPTS))
    config = RunConfig(data=f"{one}=1,{folder}=3")
    examples, held = datasets.tokenized_pairs(config, source, policy(), print)
    assert not set(examples.prompt_hashes) & {e.prompt_hash for e in held}
    assert len(set(examples.prompt_hashes)) == len(train)


def policy():
    """All of a policy that tokenising needs."""
    tokenizer = tokenizers.train(["good bad q why?"], vocab_size=280)
    return types.SimpleNamespace(tokenizer=tokenizer, context=256)


@pytest.mark.parametrize("flags", [{}, {"held_out": 0.3, "held_out_seed": 5}])
def test_token_caches_hold_out_the_same(flags, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 0)  # no processes for few rows
    path = write(tmp_path / "a.jsonl", "pair", bad=(2, 90))
    config = RunConfig(data=str(path), skip_bad_rows=True, **flags)
    cached = dataclasses.replace(config, token_cache=tmp_path / "cache")
    found = []
    for one in (config, cached):
        source = datasets.load(one)
        train, held_out = datasets.tokenized_pairs(one, source, policy(), print)
        found.append([[e.prompt_hash for e in side] for side in (train, held_out)])
        ((kind, account),) = source.accounts()
        assert kind == "Preference"
        found[-1].append({k: v for k, v in account.items() if k != "read"})
    assert found[0] == found[1]
    assert not set(found[0][0]) & set(found[0][1])
    # the rows that are said to be held out are the lines of those prompts
    lines = path.read_text().splitlines()
    held = sides(datasets.load(config), "pair")[1]
    (numbers,) = found[0][2]["held_out_row_numbers"].values()
    said_so = [json.loads(lines[n - 1])["prompt"][0]["content"] for n in numbers]
    assert {int(re.search(r"(?i)q(\d+)", text)[1]) for text in said_so} == held
    assert len(numbers) == len(held) * COPIES == found[0][2]["held_out_rows"]


def test_a_file_of_its_own_is_held_out_whole_and_not_trained_on(tmp_path):
    data = write(tmp_path / "data.jsonl", "pair")
    exam = tmp_path / "exam.jsonl"
    rows = [rows_of("pair", i, 2) for i in (3, 4, 100)]
    exam.write_text("\n".join(map(json.dumps, rows)))
    config = RunConfig(data=str(data), held_out_data=str(exam))
    source = datasets.load(config)
    for kind in (source.prompts, source.preferences, source.demonstrations):
        train, held_out = map(first_messages, kind())
        assert held_out == {3, 4, 100} and train == set(range(PROMPTS)) - held_out
    train, held_out = datasets.tokenized_pairs(config, source, policy(), print)
    assert len(held_out) == 3 and len(train) == (PROMPTS - 2) * COPIES
    removed = [a.get("removed_from_training") for _, a in source.accounts()]
    assert 2 * COPIES in removed
    with pytest.raises(ValueError, match="nothing is left to train on"):
        load(exam, held_out_data=str(exam)).preferences()
    with pytest.raises(ValueError, match="toy states its own held-out split"):
        load("toy", held_out_data=str(exam))
    with pytest.raises(ValueError, match="is a folder: name a file"):
        load(data, held_out_data=str(tmp_path))


@pytest.mark.parametrize("cached", quick.only([False], [False, True]))
def test_the_account_of_pairs_says_what_is_trained_on_and_held_out(
    cached, tmp_path, monkeypatch
):
    """Of --held-out-data and of mixtures, whose parts are put together as tokens."""
    monkeypatch.setattr("os.cpu_count", lambda: 0)
    data = write(tmp_path / "data.jsonl", "pair")
    exam = tmp_path / "exam.jsonl"
    rows = [rows_of("pair", i, 2) for i in (3, 4, 100)]
    exam.write_text("\n".join(map(json.dumps, rows)))
    folder = tmp_path / "two"
    folder.mkdir()
    rule = sides(load(data), "pair")[1]
    few = [rows_of("pair", i, 0) for i in range(PROMPTS) if i not in rule]
    for name, part in (("train", few[:40]), ("test", few[40:])):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
    cache = {"token_cache": tmp_path / "cache"} if cached else {}
    told = RunConfig(data=str(data), held_out_data=str(exam), **cache)
    mixed = RunConfig(data=f"{data}=1,{folder}=3", **cache)
    # the folder has nothing that the rule holds out of the file; its test rows are in
    # the file's training, which loses them
    removed = {told: 2 * COPIES, mixed: (len(few) - 40) * COPIES}
    for config in (told,) if cached else (told, mixed):
        source = datasets.load(config)
        train, held_out = datasets.tokenized_pairs(config, source, policy(), print)
        kind, account = source.accounts()[-1]
        assert kind == "Preference"
        assert account["training_rows"] == len(train)
        assert account["held_out_rows"] == len(held_out)
        assert account["held_out_prompts_in_training"] == 0
        assert account["removed_from_training"] == removed[config]
        rows_told = {str(exam): [1, 2, 3]} if config is told else {}
        assert account["held_out_row_numbers"] == rows_told


@pytest.mark.parametrize("stated", quick.only([True], [True, False]))
def test_the_account_names_held_out_rows_by_shard(stated, tmp_path, monkeypatch):
    """Whether tokens are cached or not: the number is that of the row in its shard."""
    monkeypatch.setattr("os.cpu_count", lambda: 0)
    shards = [[rows_of("pair", i, 0) for i in part] for part in ((1, 2), (3, 4, 5))]
    for k, rows in enumerate(shards):
        for split in ("train", "test") if stated else ("train",):
            file = tmp_path / f"{split}-{k}-of-2.jsonl"
            file.write_text("\n".join(map(json.dumps, rows)))
    config = RunConfig(data=str(tmp_path), held_out=0.5, held_out_seed=1)
    accounts = []
    for each in (config, dataclasses.replace(config, token_cache=tmp_path / "cache")):
        source = datasets.load(each)
        train, held_out = datasets.tokenized_pairs(each, source, policy(), print)
        accounts.append(source.accounts()[-1][1]["held_out_row_numbers"])
        assert len(train) == 5 if stated else len(train) + len(held_out) == 5
    assert accounts[0] == accounts[1]
    names = {"test-0-of-2.jsonl": [1, 2], "test-1-of-2.jsonl": [1, 2, 3]}
    if stated:
        assert accounts[0] == {f"{tmp_path}/{k}": v for k, v in names.items()}
    else:
        assert len(accounts[0]) == 2  # seed 1 holds out rows of both shards


def test_a_mixture_keeps_its_weights_where_a_file_is_held_out(tmp_path):
    one, two = (write(tmp_path / f"{k}.jsonl", "pair") for k in "ab")
    exam = tmp_path / "exam.jsonl"
    exam.write_text(json.dumps(rows_of("pair", 3, 0)))
    config = RunConfig(data=f"{one}=1,{two}=3", held_out_data=str(exam))
    train, held_out = datasets.tokenized_pairs(
        config, datasets.load(config), policy(), print
    )
    assert isinstance(train, dataset_ops.Mixture) and train.weights == [1.0, 3.0]
    assert list(map(len, train.parts)) == [(PROMPTS - 1) * COPIES] * 2
    assert not set(train.prompt_hashes) & {e.prompt_hash for e in held_out}


def test_stories_may_be_held_out_in_a_file_of_their_own(tmp_path):
    words = lambda k: " ".join(f"{k}w{i}" for i in range(30))
    for name, few in (("data", "abc"), ("exam", "bd")):
        (tmp_path / f"{name}.txt").write_text("\n".join(map(words, few)))
    source = load(
        "stories",
        data_path=str(tmp_path / "data.txt"),
        held_out_data=str(tmp_path / "exam.txt"),
    )
    for kind in (source.prompts, source.demonstrations):
        begin = [[r.messages[0]["content"][0] for r in side] for side in kind()]
        assert begin == [["a", "c"], ["b", "d"]]


def test_a_file_of_no_known_kind_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("once\n")
    with pytest.raises(
        ValueError, match=r"notes.txt has the ending '.txt'; expected .jsonl, "
    ):
        load(path)


def test_the_first_row_of_a_prepared_data_set_has_a_number():
    rows = [Prompt(said("q"), location=f"name/train:{i}") for i in (0, 2)]
    assert record_splits.row_numbers(rows) == {"name/train": [0, 2]}


@pytest.mark.parametrize("held_out, side", [(0.1, "held-out"), (0.999, "training")])
def test_a_share_that_leaves_a_side_empty_is_refused_with_counts(
    held_out, side, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 0)
    path = tmp_path / "few.jsonl"
    train = sides(load(write(tmp_path / "a.jsonl", "pair")), "pair")[0]
    few = [rows_of("pair", i, k) for i in sorted(train)[:2] for k in range(3)]
    path.write_text("\n".join(map(json.dumps, few)))
    said_so = rf"--held-out {held_out} leaves no {side} row of the 6 of .*\(2 different"
    config = RunConfig(data=str(path), held_out=held_out)
    for kind in ("preferences", "demonstrations"):
        with pytest.raises(ValueError, match=said_so):
            getattr(datasets.load(config), kind)()
    cached = dataclasses.replace(config, token_cache=tmp_path / "cache")
    with pytest.raises(ValueError, match=said_so):
        datasets.tokenized_pairs(cached, datasets.load(cached), policy(), print)
    everything, nothing = load(path, held_out=0.0).preferences()
    assert (len(everything), nothing) == (6, [])
    with pytest.raises(ValueError, match="no rows are held out, and x needs some"):
        datasets.check_held_out(nothing, "x")


def test_stated_splits_stay_and_what_is_in_both_is_counted(tmp_path):
    for name, prompts in (("train", range(8)), ("test", range(6, 12))):
        rows = [rows_of("pair", i, 0) for i in prompts]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = load(tmp_path)
    train, held_out = source.preferences()
    assert (len(train), len(held_out)) == (8, 6)
    ((kind, account),) = source.accounts()
    assert kind == "Preference" and account["held_out_prompts_in_training"] == 2
    assert "warning: 2 held-out prompts are in training too" in (
        datasets.summary(kind, account)
    )


def test_prompts_come_once_however_many_rows_have_them(tmp_path):
    source = load(write(tmp_path / "a.jsonl", "answers"))
    train, held_out = source.prompts()
    whole = [json.dumps(p.messages) for p in train + held_out]
    assert len(whole) == len(set(whole))
    assert isinstance(source.rankings()[0][0], Ranking)


def test_what_stories_hold_out_follows_the_rule(tmp_path):
    file = tmp_path / "stories.txt"
    story = lambda i: " ".join([f"q{i}", *["word"] * 30])
    file.write_text("\n".join(story(i % 40) for i in range(120)))
    source = datasets.load(RunConfig(data="stories", data_path=str(file)))
    train, held_out = map(first_messages, source.prompts())
    assert held_out and not train & held_out
    assert first_messages(source.demonstrations()[0]) == train


def test_a_stored_row_knows_its_prompt(tmp_path):
    pair = Preference(said("q1 why?"), "good", "bad", location="a.jsonl:7")
    tokenizer = policy().tokenizer
    there = token_cache.write(tmp_path / "kept", [pair], tokenizer, context=64)
    assert there.row_numbers(np.arange(1)) == {"a.jsonl": [7]}
    assert there[0].prompt_hash == there.prompt_hashes[0] != 0
