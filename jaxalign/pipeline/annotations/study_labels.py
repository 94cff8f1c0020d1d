"""Labels of a study's folder (`experiments.annotate`), for agreement.

Of a pair: first, tie or second, by the answers of the item; with `--label strength`
how far the first one was preferred. Of a ranking and of ratings each answer is an item,
in the group of its prompt; higher is better. Gold items and skips are left out; a
repeat is a second label of its annotator.
"""

from collections.abc import Iterator, Mapping

from jaxalign.feedback import store
from jaxalign.feedback.judgements import Item, Judgement, signed_strength
from jaxalign.pipeline.annotations.layouts import Fields, RawLabel

SIDES = {1: "first", 0: "tie", -1: "second"}
STRENGTH = "strength"


def study_labels(path: str, fields: Fields) -> tuple[list[RawLabel], str]:
    """The labels of a study, and a sentence that says how it was read.

    Raises:
      ValueError: there is no study, or flags name fields that it does not have.
    """
    named = fields._replace(label=None if fields.label == STRENGTH else fields.label)
    if any(named):
        raise ValueError(
            f"{path} is a study, whose items, annotators and labels are known: of "
            "--item, --annotator, --label, --labels and --group only --label strength "
            "may be given"
        )
    items = store.items(path)
    graded = fields.label == STRENGTH
    labels = [
        label
        for judgement in sorted(store.judgements(path), key=lambda j: j.repeat)
        if judgement.item in items and not judgement.is_gold
        for label in labels_of(path, items[judgement.item], judgement, graded=graded)
    ]
    return labels, "a study: its items, annotators and judgements"


def labels_of(
    path: str, item: Item, judgement: Judgement, *, graded: bool
) -> Iterator[RawLabel]:
    """The labels in a judgement."""
    where, who = f"{path}: item {item.id}", judgement.annotator
    row: Mapping[str, object] = item.fields
    strength = signed_strength(judgement)
    if judgement.kind == "pair" and strength is not None:
        side = SIDES[(strength > 0) - (strength < 0)]
        label: str | float = strength if graded else side
        yield RawLabel(where, item.id, who, label, "", None, row)
    elif isinstance(judgement.value, tuple):
        worst = max(judgement.value)
        for i, value in enumerate(judgement.value):
            better = worst + 1 - value if judgement.kind == "ranking" else value
            name = f"{item.id} answer {i + 1}"
            yield RawLabel(where, name, who, better, item.id, None, row)
