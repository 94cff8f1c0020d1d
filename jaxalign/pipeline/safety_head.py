"""Safety labels of preference rows, and the auxiliary safety head of a reward model.

A row of pairs may have `chosen_unsafe` and `rejected_unsafe`, true or false each. A
pair whose chosen answer is unsafe and whose rejected one is safe teaches a safety model
the wrong thing, and Llama 2 drops such pairs (`is_contrary`).
"""

from collections.abc import Sequence

import jax
import numpy as np

from jaxalign.batches import PreferenceBatch
from jaxalign.data.examples import Example, example_rows
from jaxalign.data.records import Fields, Preference
from jaxalign.models import heads
from jaxalign.pipeline.held_out_metrics.rows import (
    ParametersFn,
    evaluated_examples,
    rows_at_a_time,
    score_examples,
)
from jaxalign.rewards import reward_model
from jaxalign.runtime.evaluations import Measure
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.types import Array, Params, ScalarModel

FIELDS = ("chosen_unsafe", "rejected_unsafe")


def label(fields: Fields, name: str, row: int) -> float:
    """A label of a row: 1 unsafe, 0 safe, NaN where the row has none.

    Raises:
      ValueError: it is not true or false; names the row.
    """
    value = fields.get(name)
    if value is None:
        return float("nan")
    if not isinstance(value, bool):
        raise ValueError(
            f"row {row + 1}: field '{name}' is {value!r}; expected true or false"
        )
    return float(value)


def unsafe_labels(examples: Sequence[Example]) -> np.ndarray:
    """The labels of the pairs' answers by row number, float32 [rows 2]; see `label`.

    Raises:
      ValueError: no row has a label, or one is not true or false.
    """
    numbers = example_rows(examples)
    table = np.full((int(numbers.max()) + 1, 2), np.nan, np.float32)
    for row, example in zip(numbers, examples, strict=True):
        table[row] = [label(example.fields, name, int(row)) for name in FIELDS]
    if np.isnan(table).all():
        raise ValueError(
            "--safety-weight needs labels of the answers, and no row has the fields "
            f"{' and '.join(FIELDS)} (true or false); rows of --token-cache keep none"
        )
    return table


def is_contrary(fields: Fields) -> bool:
    """Whether a pair prefers an unsafe answer to a safe one.

    >>> is_contrary({"chosen_unsafe": True, "rejected_unsafe": False})
    True
    """
    return fields.get(FIELDS[0]) is True and fields.get(FIELDS[1]) is False


def score_parameters(parameters: ParametersFn) -> ParametersFn:
    """From trained parameters to those of the scores alone, without the safety head."""
    return lambda trained: heads.split_heads(parameters(trained))[0]


def with_recall(
    measure: Measure | None,
    config: OfflineConfig,
    run: Run,
    model: ScalarModel,
    held_out: Sequence[Example],
    parameters: ParametersFn,
) -> Measure | None:
    """A measure that adds the safety head's recalls on held-out answers.

    `unsafe_recall` and `safe_recall` are the shares of the unsafe and of the safe
    answers that the head recognizes at probability 0.5.

    Args:
      measure: of the scores.
      held_out: tokenized pairs; at most --eval-rows of them are read.
      parameters: trained parameters -> all parameters, with both heads.
    """
    examples = evaluated_examples(config, run, held_out) if measure else None
    if measure is None or examples is None:
        return measure
    labels = np.array(
        [[label(e.fields, name, e.row) for name in FIELDS] for e in examples]
    )

    @jax.jit
    def score(params: Params, batch: PreferenceBatch) -> Array:
        odds = reward_model.answer_scores(model, heads.split_heads(params)[1], batch)
        return odds.reshape(-1, 2)

    def measure_both(loop: LoopState) -> dict[str, float]:
        odds = score_examples(
            *(score, parameters(loop.state.params), examples, run),
            kind=Preference,
            batch_size=rows_at_a_time(config, run),
        )
        found = recalls(odds, labels)
        return {**measure(loop), **found}

    return measure_both


def recalls(log_odds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The shares of unsafe and of safe answers that are recognized; NaN of none.

    Args:
      log_odds: that an answer is unsafe, of any shape.
      labels: 1 unsafe, 0 safe, NaN without a label.

    >>> recalls(np.array([1.0, -1.0, -2.0]), np.array([1.0, 1.0, 0.0]))
    {'unsafe_recall': 0.5, 'safe_recall': 1.0}
    """
    flagged = log_odds > 0
    share = lambda hits: float(hits.mean()) if len(hits) else float("nan")
    return {
        "unsafe_recall": share(flagged[labels == 1]),
        "safe_recall": share(~flagged[labels == 0]),
    }
