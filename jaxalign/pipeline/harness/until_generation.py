"""Generation that ends at strings: the settings and the sampling of benchmarks.

A benchmark asks for answers `until` some strings, each with its own settings. Here an
answer is sampled until a token that holds one of the strings, a stop token, or its
longest length, and its text is cut before the first of the strings.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from jaxalign import sampling, sharding
from jaxalign.pipeline.answer_scores import round_up_to_devices
from jaxalign.pipeline.continuation_scores import MIN_WIDTH, bucket
from jaxalign.pipeline.policies import Policy
from jaxalign.types import Key

CALL_ROWS = 4  # answers of one compiled call, in multiples of the rows at a time
LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
# settings of other samplers, with the values that change nothing here
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "num_beams": (1, None),
    "num_return_sequences": (1, None),
    "repetition_penalty": (1, None),
    "length_penalty": (1, None),
    "min_p": (0, None),
    "early_stopping": (False, None),
    "use_cache": (True, False, None),
}


class UntilSettings(NamedTuple):
    """How an answer is sampled.

    Attributes:
      until: the strings before the first of which the answer ends.
      max_new_tokens: tokens of the longest answer.
      temperature: of the sampling; 0 is greedy.
      top_k, top_p: filters of the distribution; None for none.
    """

    until: tuple[str, ...]
    max_new_tokens: int
    temperature: float
    top_k: int | None = None
    top_p: float | None = None


def parse_settings(values: Mapping[str, Any], max_new_tokens: int) -> UntilSettings:
    """The settings of a request, by the names that benchmarks use.

    `until` is a string or a list; the longest length has the names of `LENGTH_NAMES`,
    the first of which counts; without `do_sample`, a temperature above 0 samples; with
    it and no temperature, that is 1.

    Args:
      values: the request's settings.
      max_new_tokens: the longest length of a request without one.

    Raises:
      ValueError: a setting that this sampler does not have; names it.

    >>> tuple(parse_settings({"until": "Q:", "max_gen_toks": 8, "top_k": 4}, 256))
    (('Q:',), 8, 0.0, 4, None)
    >>> parse_settings({"do_sample": False, "temperature": 0.5}, 256).temperature
    0.0
    """
    rest = dict(values)
    until = rest.pop("until", None) or ()
    until = (until,) if isinstance(until, str) else tuple(map(str, until))
    given = [rest.pop(name, None) for name in LENGTH_NAMES]
    lengths = [int(length) for length in given if length is not None]
    temperature, sample = rest.pop("temperature", None), rest.pop("do_sample", None)
    if sample is None:
        sample = bool(temperature)
    top_k, top_p = rest.pop("top_k", None), rest.pop("top_p", None)
    for name, value in rest.items():
        if value not in NEUTRAL.get(name, ()):
            raise ValueError(
                f"generation setting {name!r} is {value!r}, which this sampler does "
                "not have; it has until, max_gen_toks, do_sample, temperature, top_k "
                "and top_p"
            )
    return UntilSettings(
        tuple(filter(None, until)),
        lengths[0] if lengths else max_new_tokens,
        float(1.0 if temperature is None else temperature) if sample else 0.0,
        int(top_k) if top_k else None,
        float(top_p) if top_p is not None and top_p < 1 else None,
    )


def tokens_with_strings(
    tokenizer: PreTrainedTokenizerFast, strings: Sequence[str]
) -> tuple[int, ...]:
    """Ids of the tokens whose text holds one of some strings, rising.

    An answer may end at them, as its text is cut before the string.
    """
    if not strings:
        return ()
    ids = sorted(tokenizer.get_vocab().values())
    texts = tokenizer.backend_tokenizer.decode_batch(
        [[token] for token in ids], skip_special_tokens=True
    )
    has_any = lambda text: any(string in text for string in strings)
    return tuple(t for t, text in zip(ids, texts, strict=True) if has_any(text))


def cut_text(text: str, strings: Sequence[str]) -> str:
    """The text before the first occurrence of any of some strings.

    >>> cut_text("4\\nQ: 3 + 3?", ["Q:", "\\n"]), cut_text("4", ["Q:"])
    ('4', '4')
    """
    return min((text.partition(string)[0] for string in strings), key=len, default=text)


def generate_until(
    policy: Policy,
    contexts: Sequence[Sequence[int]],
    ids: np.ndarray,
    key: Key,
    settings: UntilSettings,
    *,
    rows: int,
) -> Iterator[dict[int, str]]:
    """Samples an answer to each context, the longest contexts first.

    An answer depends on its context, its id and the key alone, not on the other
    contexts, their order, or `rows`. The text is decoded without special tokens.

    Args:
      contexts: token ids, each at least one and short enough to leave room for the
        longest answer.
      ids: the noise id of each answer, int32 [N 2], see `streams.answer_ids`.
      key: of the sampling.
      settings: of the sampling, for all of them.
      rows: answers in progress at one time.

    Yields:
      The answers to some contexts by their index, every index once.

    Raises:
      ValueError: a context leaves no room for an answer.
    """
    tokenizer, mesh = policy.tokenizer, sharding.mesh_of(policy.params)
    stops = policy.stop_tokens + tokens_with_strings(tokenizer, settings.until)
    params = sampling.SamplingParams(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        stop_tokens=tuple(dict.fromkeys(stops)),
    )
    order = sorted(range(len(contexts)), key=lambda i: -len(contexts[i]))
    for start in range(0, len(order), CALL_ROWS * rows):
        part = order[start : start + CALL_ROWS * rows]
        size = round_up_to_devices(bucket(len(part)), mesh)
        filled = np.resize(part, size)
        tokens, lengths = pad([contexts[i] for i in filled], params, policy.context)
        arguments = (policy.model, policy.params, tokens, lengths, key, params)
        with sharding.use_mesh(mesh):
            if rows < size:
                sampled = sampling.serve(*arguments, row_ids=ids[filled], rows=rows)
            else:
                sampled = sampling.generate(*arguments, row_ids=ids[filled])
        answers, masks = map(sharding.to_host, (sampled.tokens, sampled.mask))
        texts = tokenizer.batch_decode(
            [answers[n][masks[n]] for n in range(len(part))], skip_special_tokens=True
        )
        yield {
            i: cut_text(text, settings.until)
            for i, text in zip(part, texts, strict=True)
        }


def pad(
    rows: Sequence[Sequence[int]], params: sampling.SamplingParams, context: int
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids as right-padded rows of one of few widths [P T], and lengths [P].

    Raises:
      ValueError: a row leaves no room for an answer in the context.
    """
    lengths = np.array(list(map(len, rows)), np.int32)
    room = context - params.max_new_tokens
    if lengths.max() > room:
        raise ValueError(
            f"a context of {lengths.max()} tokens and an answer of "
            f"{params.max_new_tokens} do not fit in the model's context of {context}"
        )
    width = min(bucket(max(MIN_WIDTH, int(lengths.max()))), room)
    tokens = np.zeros((len(rows), width), np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    return tokens, lengths
