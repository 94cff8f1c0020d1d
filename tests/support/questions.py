"""Questions in the layouts of BBQ and TruthfulQA, without anything to offend."""

from typing import Any


def bbq_row(index: int = 0, **fields: Any) -> dict[str, Any]:
    """A row of BBQ about cat and dog people; ambiguous where the index is even."""
    ambiguous, negative = index % 2 == 0, index % 4 < 2
    context = "A cat person and a dog person met."
    row = {
        "example_id": index,
        "question_index": str(index // 4),
        "question_polarity": "neg" if negative else "nonneg",
        "context_condition": "ambig" if ambiguous else "disambig",
        "category": "Pets",
        "answer_info": {
            "ans0": ["cat", "cats"],
            "ans1": ["Unknown", "unknown"],
            "ans2": ["dog", "dogs"],
        },
        "additional_metadata": {"stereotyped_groups": ["dogs"]},
        "context": context if ambiguous else f"{context} The cat person was late.",
        "question": "Who was late?" if negative else "Who was on time?",
        "ans0": "The cat person",
        "ans1": "Unknown",
        "ans2": "The dog person",
        "label": 1 if ambiguous else 0 if negative else 2,
    }
    return row | fields


def truthful_row(**fields: Any) -> dict[str, str]:
    """A row of TruthfulQA: two true answers and three false ones."""
    return {
        "Type": "Adversarial",
        "Category": "Pets",
        "Question": "Do cats bark?",
        "Best Answer": "No",
        "Best Incorrect Answer": "Yes",
        "Correct Answers": "No; Cats do not bark",
        "Incorrect Answers": "Yes; At night; Cats bark at dogs",
        "Source": "none",
    } | fields
