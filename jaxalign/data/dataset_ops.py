"""Data sets made of others without copying: subsets, mixtures, mapped and unpaired.

Each is a sequence of examples with what is known without reading them: `longest`
(tokens of the longest sequence) and, per example, `rows`, `prompt_hashes`, `values` and
`sizes`, see `tokenize`.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from jaxalign.data.examples import (
    Example,
    TokenRow,
    example_label_probs,
    example_prompt_hashes,
    example_rows,
    example_sizes,
    example_values,
    longest_sequence,
)
from jaxalign.data.mixing import check_weights
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast


class Subset(Sequence[Example]):
    """Some examples of another data set.

    Args:
      indices: of the examples in it.
    """

    def __init__(self, examples: Sequence[Example], indices: np.ndarray) -> None:
        self.examples = examples
        self.indices = indices
        self.longest = longest_sequence(examples)
        self.rows = example_rows(examples)[indices]
        self.prompt_hashes = example_prompt_hashes(examples)[indices]
        self.values = example_values(examples)[indices]
        self.label_probs = example_label_probs(examples)[indices]

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each example, over its sequences [R]."""
        return example_sizes(self.examples)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        if isinstance(i, slice):
            return Subset(self.examples, self.indices[i])
        return self.examples[int(self.indices[i])]


class Mixture(Sequence[Example]):
    """Data sets that each give a share of every batch, whatever their sizes.

    Args:
      weights: of the parts; only their ratios matter.

    Raises:
      ValueError: an empty part, or a weight that is not a finite number above 0.
    """

    def __init__(
        self, parts: Sequence[Sequence[Example]], weights: Sequence[float]
    ) -> None:
        check_weights(parts, weights)
        self.parts = parts
        self.weights = list(weights)
        self.begins = [0, *itertools.accumulate(map(len, parts))][:-1]
        # rows are numbered over all parts, so that each has a number of its own
        counts = [max(part[-1].row, len(part)) + 1 for part in parts]
        self.first_rows = [0, *itertools.accumulate(counts)][:-1]
        self.longest = max(map(longest_sequence, parts))
        numbered = zip(parts, self.first_rows, strict=True)
        self.rows = np.concatenate([example_rows(p) + first for p, first in numbered])
        self.prompt_hashes = np.concatenate([*map(example_prompt_hashes, parts)])
        self.values = np.concatenate([example_values(part) for part in parts])
        self.label_probs = np.concatenate([example_label_probs(p) for p in parts])

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each example, over its sequences [R]."""
        return np.concatenate([example_sizes(part) for part in self.parts])

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        at = range(len(self))[i]
        k = bisect.bisect_right(self.begins, at) - 1
        example = self.parts[k][at - self.begins[k]]
        return dataclasses.replace(example, row=example.row + self.first_rows[k])


class MappedDataset(Sequence[Example]):
    """Examples of another data set, transformed whenever they are read.

    Args:
      function: keeps an example's row, prompt and the length of its sequences.
    """

    def __init__(
        self, examples: Sequence[Example], function: Callable[[Example], Example]
    ) -> None:
        self.examples = examples
        self.function = function
        self.longest = longest_sequence(examples)
        self.rows = example_rows(examples)
        self.prompt_hashes = example_prompt_hashes(examples)
        self.values = example_values(examples)
        self.label_probs = example_label_probs(examples)

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each example, over its sequences [R]."""
        return example_sizes(self.examples)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        return self.function(self.examples[i])


class UnpairedAnswers(Sequence[Example]):
    """The answers of pairs, each an example of its own: all chosen, then all rejected.

    Args:
      pairs: examples with sequences (chosen, rejected).
    """

    def __init__(self, pairs: Sequence[Example]) -> None:
        self.pairs = pairs
        self.longest = longest_sequence(pairs)
        rows = 2 * example_rows(pairs)
        self.rows = np.concatenate([rows, rows + 1])
        self.prompt_hashes = np.tile(example_prompt_hashes(pairs), 2)
        self.values = np.repeat(np.array([1, 0], np.float32), len(pairs))

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each answer, its prompt included [R]."""
        sizes = [[len(row.tokens) for row in pair.sequences] for pair in self.pairs]
        return np.array(sizes, np.int64).T.reshape(-1)

    def __len__(self) -> int:
        return 2 * len(self.pairs)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        side, at = divmod(range(len(self))[i], len(self.pairs))
        pair = self.pairs[at]
        return Example(
            (pair.sequences[side],),
            row=2 * pair.row + side,
            value=float(side == 0),
            prompt_hash=pair.prompt_hash,
            fields=pair.fields,
        )


def unpair(pairs: Sequence[Example]) -> Sequence[Example]:
    """Turns each pair into two labeled answers, desirable and not, each with a row.

    The two answers of a prompt are half the data set apart, so that neighbors, whose
    answers are exchanged for KTO's mismatched ones, have different prompts. A mixture
    stays one.
    """
    if not len(pairs):  # nothing is held out
        return pairs
    if isinstance(pairs, Mixture):
        return Mixture([UnpairedAnswers(part) for part in pairs.parts], pairs.weights)
    return UnpairedAnswers(pairs)


def mask_special_tokens(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast
) -> Sequence[Example]:
    """Masks the special tokens of answers, which then count in no loss.

    Llama 3 masks headers and ends of turns in both answers of DPO: a loss that raises
    the chosen one's and lowers the rejected one's contradicts itself. A mixture stays
    one.

    Raises:
      ValueError: an answer of special tokens alone.

    Reference: Dubey et al. 2024, arXiv:2407.21783, section 4.1.4.
    """
    if isinstance(examples, Mixture):
        parts = [mask_special_tokens(part, tokenizer) for part in examples.parts]
        return Mixture(parts, examples.weights)
    added = tokenizer.added_tokens_decoder
    special = [token for token, text in added.items() if text.special]

    def mask_row(row: TokenRow) -> TokenRow:
        return TokenRow(row.tokens, row.mask & ~np.isin(row.tokens, special))

    def mask_example(example: Example) -> Example:
        sequences = tuple(map(mask_row, example.sequences))
        return dataclasses.replace(example, sequences=sequences)

    masked = MappedDataset(examples, mask_example)
    for example in masked:
        if not all(sequence.mask.any() for sequence in example.sequences):
            raise ValueError(
                f"row {example.row} has an answer of formatting tokens alone, of which "
                "none would count: leave it out"
            )
    return masked


def mask_before_token(examples: Sequence[Example], token: int) -> Sequence[Example]:
    """Masks what precedes the last occurrence of a token in each answer.

    The token and what follows it are trained; answers without it stay as they are. A
    mixture stays one.

    Args:
      token: its id, such as that of [RESET].
    """
    if isinstance(examples, Mixture):
        parts = [mask_before_token(part, token) for part in examples.parts]
        return Mixture(parts, examples.weights)

    if not len(examples):  # nothing is held out
        return examples

    def mask_row(row: TokenRow) -> TokenRow:
        at = np.flatnonzero((row.tokens == token) & row.mask)
        if not len(at):
            return row
        return TokenRow(row.tokens, row.mask & (np.arange(len(row.mask)) >= at[-1]))

    def mask_example(example: Example) -> Example:
        sequences = tuple(map(mask_row, example.sequences))
        return dataclasses.replace(example, sequences=sequences)

    return MappedDataset(examples, mask_example)


def check_soft_labels(examples: Sequence[Example]) -> None:
    """Refuses pairs whose margins could be taken for soft labels.

    Raises:
      ValueError: pairs with margins, none with a soft label.
    """
    hard = (example_label_probs(examples) == 1.0).all()
    if hard and (example_values(examples) != 0.0).any():
        raise ValueError(
            "soft labels are read from the field 'label_prob', which no row has; a "
            "margin is a rating margin, not the log-odds of a label"
        )
