"""Studies that simulated annotators judge, through the store's functions."""

import numpy as np

from jaxalign.feedback import store
from jaxalign.feedback.judgements import Item, judgement_body
from jaxalign.feedback.store import NewEvent, Store
from jaxalign.pipeline.simulated_annotators import SimulatedAnnotator


def worth(item):
    """The utility of answers whose texts are numbers."""
    return [float(answer) for answer in item.answers]


def number_item(name, values, kind="pair", **fields):
    """An item whose answers are numbers, as texts."""
    prompt = [{"role": "user", "content": f"question {name}"}]
    return Item(name, kind, prompt, tuple(f"{x:.3f}" for x in values), fields)


def begin(folder, items=(), **settings):
    """A study with these items."""
    with Store(folder, create={"kind": "pairwise", "levels": 8} | settings) as opened:
        opened.add_items(items)
    return folder


def judge_all(folder, annotators, *, levels=8, seed=0, repeat=0):
    """Every annotator judges every item that they have not judged; returns how many."""
    rng = np.random.default_rng(seed)
    done = {(j.annotator, j.item, j.repeat) for j in store.judgements(folder)}
    events = []
    for item in store.items(folder).values():
        for annotator in annotators:
            if (annotator.name, item.id, repeat) in done:
                continue
            order = tuple(int(i) for i in rng.permutation(len(item.answers)))
            judgement = annotator.judge(item, order, levels, repeat)
            body = judgement_body(judgement)
            events.append(NewEvent(annotator.name, "judgement", body))
    with Store(folder) as opened:
        opened.append(events)
    return len(events)


def crowd(count, utility=worth, **parameters):
    """Annotators with the same parameters and different names."""
    return [
        SimulatedAnnotator(f"ann{i}", utility, seed=i, **parameters)
        for i in range(count)
    ]
