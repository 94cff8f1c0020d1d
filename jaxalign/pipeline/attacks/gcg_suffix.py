"""GCG against a policy: a suffix of requests, by tokens of the chat template.

One suffix is optimized for some requests together, and sent with the others too, on
which it was not optimized: its transfer.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

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


def add_suffix(bench: Bench, prompts: Sequence[Prompt], suffix: str) -> list[Prompt]:
    """The prompts with a suffix after the request."""
    return [bench.rewrite(p, request_of(p) + suffix) for p in prompts]


def encode(bench: Bench, prompts: Sequence[Prompt]) -> list[np.ndarray]:
    """The token ids of prompts."""
    return chat.encode_prompts(
        bench.policy.tokenizer,
        [chat.Conversation(p.messages, p.tools) for p in prompts],
    )


def attack_rows(
    bench: Bench, prompts: Sequence[Prompt], length: int, target_tokens: int
) -> tuple[list[AttackRow], np.ndarray]:
    """The rows of an attack on some requests, and the suffix to start from [L].

    Args:
      target_tokens: the first tokens of the answer that the attack is for.

    Raises:
      ValueError: no text of `START_TOKENS` is a token of its own after the requests.
    """
    plain = encode(bench, add_suffix(bench, prompts, ""))
    for text in START_TOKENS:
        asked = add_suffix(bench, prompts, text * length)
        split = [
            split_prompt(*both)
            for both in zip(encode(bench, asked), plain, strict=True)
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
    for prompt, (before, suffix, after) in zip(prompts, split, strict=True):
        size = len(before) + len(suffix) + len(after)
        target = bench.world.target(request_of(prompt))
        tokens = answer_tokens(
            bench.policy, add_suffix(bench, [prompt], text * length)[0], size, target
        )
        ids = (before.tolist(), after.tolist(), tokens[:target_tokens].tolist())
        rows.append(AttackRow(*ids))
    return rows, suffixes[0]


def decode_suffix(bench: Bench, suffix: np.ndarray) -> str:
    """The text of a suffix."""
    return special_tokens.decode_visible(bench.policy.tokenizer, [suffix])[0]


def are_stable(
    bench: Bench,
    prompt: Prompt,
    row: AttackRow,
    candidates: np.ndarray,
) -> np.ndarray:
    """Whether each suffix [W L] is itself when its text follows a request: bool [W]."""
    texts = special_tokens.decode_visible(bench.policy.tokenizer, list(candidates))
    asked = [add_suffix(bench, [prompt], text)[0] for text in texts]
    try:
        encoded = encode(bench, asked)
    except ValueError:  # a template that refuses one of the texts
        return np.zeros(len(candidates), bool)
    whole = [[*row.prompt_start, *suffix, *row.prompt_end] for suffix in candidates]
    return np.array([a.tolist() == b for a, b in zip(encoded, whole, strict=True)])


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
      length: tokens of the suffix.
      target_tokens: as in `attack_rows`.

    Returns:
      Values of `attempt`; `optimized` and `transfer`, success on the requests that the
      suffix was optimized on and on the others; the target's mean NLL per token (nats)
      at the start and at the end, and its probability, each of one number.
    """
    policy, chosen = bench.policy, bench.world.harmful[:prompts]
    rows, start = attack_rows(bench, chosen, length, target_tokens)
    attack = gcg.make_attack(rows, length)
    evaluate = functools.partial(
        gcg.candidate_losses, policy.model, policy.params, attack, chunk=1
    )
    before = float(evaluate(start[None])[0])
    result = gcg.optimize_suffix(
        policy.model,
        policy.params,
        attack,
        start.tolist(),
        key=streams.key(bench.key, "gcg"),
        options=options,
        allowed=allowed_tokens(policy),
        are_stable=functools.partial(are_stable, bench, chosen[0], rows[0]),
    )
    text = decode_suffix(bench, result.suffix)
    if folder is not None and jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        kept = {"suffix": text, "tokens": result.suffix.tolist(), "start": before}
        losses = [float(loss) for loss in result.losses]
        run_settings.write_json(folder / "suffix.json", kept | {"losses": losses})
    values = attempt(bench, folder, add_suffix(bench, bench.world.harmful, text))
    is_chosen = np.arange(len(bench.world.harmful)) < len(chosen)
    tokens = np.mean([len(row.target) for row in rows])
    return {
        **values,
        "optimized": np.where(is_chosen, values["success"], np.nan),
        "transfer": np.where(is_chosen, np.nan, values["success"]),
        "nll_before": np.array([before]),
        "nll_after": np.array([result.loss]),
        "p_before": np.exp(-tokens * np.array([before])),
        "p_after": np.exp(-tokens * np.array([result.loss])),
    }
