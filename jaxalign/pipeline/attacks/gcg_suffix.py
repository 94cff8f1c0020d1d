"""GCG against a policy: a suffix of requests, by tokens of the chat template.

One suffix is optimized for some requests together, and sent with the others too, on
which it was not optimized: its transfer.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import chat, special_tokens
from jaxalign.data.records import Prompt
from jaxalign.evaluation.attacks import gcg
from jaxalign.evaluation.attacks.gcg import AttackRow, GcgOptions
from jaxalign.pipeline.attacks.attempts import Bench, Values, attempt
from jaxalign.pipeline.attacks.worlds import request_of
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prefilled_answers import answer_tokens
from jaxalign.runtime import run_settings
from jaxalign.types import Key

START_TOKENS = (" !", " x", " a", " the", "!")  # one of which is a single token


def allowed_tokens(policy: Policy, *, ascii_only: bool = True) -> np.ndarray:
    """The tokens that a suffix may have: no special ones, and texts alone, bool [V].

    Args:
      ascii_only: only tokens that decode to printable ASCII.
    """
    tokenizer = policy.tokenizer
    allowed = np.zeros(policy.model.config.vocab_size, bool)
    size = min(len(tokenizer), len(allowed))
    texts = special_tokens.decode_visible(
        tokenizer, [np.array([i]) for i in range(size)]
    )
    allowed[:size] = [
        bool(text.strip())
        and (not ascii_only or (text.isascii() and text.isprintable()))
        for text in texts
    ]
    added = [i for i in tokenizer.added_tokens_decoder if i < size]
    allowed[[*tokenizer.all_special_ids, *added]] = False
    return allowed


def split_prompt(
    tokens: np.ndarray, plain: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tokens of a prompt with a suffix, split at those that it adds to a plain one.

    Returns:
      The tokens before the suffix, the suffix, and those after it.

    >>> [x.tolist() for x in split_prompt(np.array([1, 2, 8, 9, 3]), np.arange(1, 4))]
    [[1, 2], [8, 9], [3]]
    """
    short = min(len(tokens), len(plain))
    same = tokens[:short] == plain[:short]
    start = short if same.all() else int(np.argmin(same))
    rest = short - start
    after = tokens[len(tokens) - rest :] == plain[len(plain) - rest :]
    end = rest if after.all() else int(np.argmin(after[::-1]))
    return (
        tokens[:start],
        tokens[start : len(tokens) - end],
        tokens[len(tokens) - end :],
    )


def add_suffix(prompts: Sequence[Prompt], suffix: str) -> list[Prompt]:
    """The prompts with a suffix after their last message."""
    asked = []
    for prompt in prompts:
        *before, last = prompt.messages
        message = {**last, "content": last["content"] + suffix}
        asked.append(dataclasses.replace(prompt, messages=[*before, message]))
    return asked


def encode(policy: Policy, prompts: Sequence[Prompt]) -> list[np.ndarray]:
    """The token ids of prompts."""
    return chat.encode_prompts(
        policy.tokenizer, [chat.Conversation(p.messages, p.tools) for p in prompts]
    )


def attack_rows(
    policy: Policy,
    prompts: Sequence[Prompt],
    targets: Sequence[str],
    length: int,
    target_tokens: int,
) -> tuple[list[AttackRow], np.ndarray]:
    """The rows of an attack on some requests, and the suffix to start from [L].

    Args:
      targets: the answer to each request that the attack is for [P].
      length: tokens of the suffix.
      target_tokens: the first tokens of these answers that count.

    Raises:
      ValueError: no text of `START_TOKENS` is a token of its own after the requests.
    """
    plain = encode(policy, prompts)
    for text in START_TOKENS:
        asked = add_suffix(prompts, text * length)
        split = [
            split_prompt(*both)
            for both in zip(encode(policy, asked), plain, strict=True)
        ]
        suffixes = np.unique([np.resize(s, length) for _, s, _ in split], axis=0)
        if len(suffixes) == 1 and all(len(s) == length for _, s, _ in split):
            break
    else:
        raise ValueError(
            "GCG finds no suffix to start from: the tokenizer has none of "
            f"{', '.join(map(repr, START_TOKENS))} as a token after the requests"
        )
    rows = []
    for prompt, target, parts in zip(asked, targets, split, strict=True):
        before, suffix, after = parts
        size = len(before) + len(suffix) + len(after)
        tokens = answer_tokens(policy, prompt, size, target)
        ids = (before.tolist(), after.tolist(), tokens[:target_tokens].tolist())
        rows.append(AttackRow(*ids))
    return rows, suffixes[0]


def decode_suffix(policy: Policy, suffix: np.ndarray) -> str:
    """The text of a suffix."""
    return special_tokens.decode_visible(policy.tokenizer, [suffix])[0]


def are_stable(
    policy: Policy, prompt: Prompt, row: AttackRow, candidates: np.ndarray
) -> np.ndarray:
    """Whether each suffix [W L] is itself when its text follows a request: bool [W]."""
    texts = special_tokens.decode_visible(policy.tokenizer, list(candidates))
    asked = [add_suffix([prompt], text)[0] for text in texts]
    try:
        encoded = encode(policy, asked)
    except ValueError:  # a template that refuses one of the texts
        return np.zeros(len(candidates), bool)
    whole = [[*row.prompt_start, *suffix, *row.prompt_end] for suffix in candidates]
    return np.array([a.tolist() == b for a, b in zip(encoded, whole, strict=True)])


class SuffixResult(NamedTuple):
    """A suffix that was optimized.

    Attributes:
      text: of the suffix.
      tokens: its ids [L].
      start_loss, loss: of the first suffix and of this one, in nats.
      losses: after each step.
      target_tokens: of the targets, the mean.
    """

    text: str
    tokens: np.ndarray
    start_loss: float
    loss: float
    losses: np.ndarray
    target_tokens: float


def find_suffix(
    policy: Policy,
    prompts: Sequence[Prompt],
    targets: Sequence[str],
    key: Key,
    options: GcgOptions,
    *,
    length: int,
    target_tokens: Sequence[int],
) -> SuffixResult:
    """Optimizes one suffix for some requests together.

    Args:
      targets, length: as in `attack_rows`.
      target_tokens: lengths of the targets; each has a search of `options.steps` steps,
        which starts from the suffix of the one before. Losses are of the last.

    Raises:
      ValueError: as `attack_rows`, or no target lengths.
    """
    allowed = allowed_tokens(policy)
    result = None
    for tokens in target_tokens:
        rows, start = attack_rows(policy, prompts, targets, length, tokens)
        attack = gcg.make_attack(rows, length)
        model = (policy.model, policy.params, attack)
        first = start if result is None else result.suffix
        result = gcg.optimize_suffix(
            *model,
            first.tolist(),
            key=streams.key(key, "gcg"),
            options=options,
            allowed=allowed,
            are_stable=functools.partial(are_stable, policy, prompts[0], rows[0]),
        )
    if result is None:
        raise ValueError("GCG needs a length of its targets: there are none")
    loss = gcg.candidate_losses(*model, start[None], avoid=options.avoid, chunk=1)
    return SuffixResult(
        decode_suffix(policy, result.suffix),
        result.suffix,
        float(loss[0]),
        result.loss,
        result.losses,
        float(np.mean([len(row.target) for row in rows])),
    )


def gcg_attack(
    bench: Bench,
    folder: Path | None,
    options: GcgOptions,
    *,
    prompts: int,
    length: int,
    target_tokens: int,
) -> Values:
    """Optimizes one suffix on the first requests; sends it with all of them.

    Args:
      folder: gets suffix.json, with the loss after each step, and answers.jsonl.
      prompts: requests that it is optimized on.
      length, target_tokens: as in `attack_rows`.

    Returns:
      Values of `attempt`; `optimized` and `transfer`, success on the requests that the
      suffix was optimized on and on the others; the target's mean NLL per token (nats)
      at the start and at the end, and its probability, each of one number.
    """
    requests = [bench.conversation(p.messages) for p in bench.world.harmful]
    targets = [bench.world.target(request_of(p)) for p in requests[:prompts]]
    found = find_suffix(
        bench.policy,
        requests[:prompts],
        targets,
        bench.key,
        options,
        length=length,
        target_tokens=(target_tokens,),
    )
    if folder is not None and jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        kept = {"suffix": found.text, "tokens": found.tokens.tolist()}
        kept |= {"start": found.start_loss, "losses": list(map(float, found.losses))}
        run_settings.write_json(folder / "suffix.json", kept)
    values = attempt(bench, folder, add_suffix(requests, found.text))
    is_chosen = np.arange(len(requests)) < len(targets)
    return {
        **values,
        "optimized": np.where(is_chosen, values["success"], np.nan),
        "transfer": np.where(is_chosen, np.nan, values["success"]),
        "nll_before": np.array([found.start_loss]),
        "nll_after": np.array([found.loss]),
        "p_before": np.exp(-found.target_tokens * np.array([found.start_loss])),
        "p_after": np.exp(-found.target_tokens * np.array([found.loss])),
    }
