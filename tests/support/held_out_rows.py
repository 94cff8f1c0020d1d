"""Rows of every layout, and the prompts that their held-out split separates."""

import json
import re
import types

from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Demonstration, Prompt
from jaxalign.pipeline import datasets
from jaxalign.runtime.config import RunConfig

PROMPTS, COPIES = 60, 6


def messages(*turns):
    """Messages of user and assistant in turn."""
    roles = ["user", "assistant"] * len(turns)
    return [{"role": r, "content": t} for r, t in zip(roles, turns, strict=False)]


def prompt_text(i, k):
    """The i-th prompt, in the k-th spelling."""
    return (f"q{i} why?", f" Q{i}  WHY?", f"q{i}\nwhy?")[k % 3]


def layout_row(layout, i, k):
    """The k-th row of the i-th prompt, in a layout."""
    text, good, bad = prompt_text(i, k), f"good {k}", f"bad {k}"
    turns = (text, "hm", "go on") if k % 2 else (text,)  # contexts with one beginning
    talk = messages(*turns)
    scores = [3.0, 3.0, 3.0, 2.0] if (i + k) % 4 == 0 else [4.0, 3.0, 2.0, 1.0]
    replies = [{"text": t, "role": "assistant", "rank": n} for n, t in enumerate("abc")]
    return {
        "prompt": {"prompt": talk, "completion": good},
        "messages": {"messages": [*talk, *messages("", good)[1:]]},
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
PAIRED = ("pair", "talks", "dialogues", "answers", "tree", "ultrafeedback")
PAIRED += ("shp", "helpsteer2", "tldr")


def write_rows(path, layout, *, order=None, bad=()):
    """Writes `COPIES` rows a prompt, and malformed rows at the places in `bad`."""
    rows = [layout_row(layout, i, k) for k in range(COPIES) for i in range(PROMPTS)]
    rows = rows if order is None else [rows[i] for i in order]
    lines = [json.dumps(row) for row in rows]
    for at in bad:
        lines.insert(at, '{"prompt": 3}')
    path.write_text("\n".join(lines) + "\n")
    return path


def first_prompts(records):
    """The numbers of the prompts in the records' first messages."""
    found = set()
    for record in records:
        one = isinstance(record, Prompt | Demonstration)
        messages = record.messages if one else record.prompt
        found.add(int(re.search(r"q(\d+)", messages[0]["content"].lower())[1]))
    return found


def split_prompts(source, layout):
    """Numbers of training and of held-out prompts, over all kinds of records."""
    kinds = [source.prompts]
    if layout != "reference":
        kinds.append(source.demonstrations)
    if layout in PAIRED:
        kinds += [source.preferences]
    if source.has_rankings:
        kinds += [source.rankings]
    found = [tuple(map(first_prompts, kind())) for kind in kinds]
    train = set.union(*(train for train, _ in found))
    held_out = set.union(*(held for _, held in found))
    assert held_out and train | held_out == set(range(PROMPTS))
    return train, held_out


def load(path, **flags):
    return datasets.load(RunConfig(data=str(path), **flags))


def text_policy():
    """All of a policy that tokenization needs."""
    tokenizer = tokenizers.train(["good bad q why?"], vocab_size=280)
    return types.SimpleNamespace(tokenizer=tokenizer, context=256)
