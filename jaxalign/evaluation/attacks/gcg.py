"""Greedy coordinate gradient (GCG): a suffix whose prompts are answered with a target.

The gradient of the target's loss with respect to one-hot tokens of the suffix proposes
replacements; a batch of candidates is evaluated exactly, and the best is kept. Both are
one compiled program each, of fixed shapes.

Reference: Zou et al. 2023, arXiv:2307.15043, algorithm 1.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import streams
from jaxalign.batches import TokenBatch, from_lengths
from jaxalign.estimators.logprobs import log1mexp, token_logprobs
from jaxalign.types import Array, Bool, Float, Int, Key, LanguageModel, Params, typed


class AttackRow(NamedTuple):
    """Token ids around the suffix: a prompt that is attacked, and the target answer.

    Attributes:
      prompt_start: of the prompt, up to the suffix.
      prompt_end: between the suffix and the answer: the chat template's tokens.
      target: of the answer that the attack is for.
    """

    prompt_start: Sequence[int]
    prompt_end: Sequence[int]
    target: Sequence[int]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Attack:
    """Prompts with places for one suffix, P rows of T tokens.

    Attributes:
      batch: the rows with any tokens at the suffix; `loss_mask` is on the targets.
      places: columns of the suffix in each row, int [P L].
    """

    batch: TokenBatch
    places: Array

    def with_suffix(self, suffix: Array) -> Array:
        """The tokens [P T] with a suffix [L]."""
        rows = jnp.arange(len(self.places))[:, None]
        return jnp.asarray(self.batch.tokens).at[rows, self.places].set(suffix)


@dataclasses.dataclass(frozen=True)
class GcgOptions:
    """The search's hyperparameters, with the defaults of nanogcg.

    Attributes:
      steps: gradients taken.
      width: candidates of a step.
      topk: tokens of each place that candidates take, those of the steepest descent.
      replace: places that a candidate changes.
      keep_best: a suffix stays where no candidate is better, so that the best loss
        never rises; without, the best candidate is taken even where it is worse.
      avoid: a token whose probability the attack also keeps low in the target, as that
        of [RESET] of a model that backtracks; its term is the mean of -log(1 - p).
      chunk: candidates evaluated at a time.
    """

    steps: int = 250
    width: int = 512
    topk: int = 256
    replace: int = 1
    keep_best: bool = True
    avoid: int | None = None
    chunk: int = 64


class GcgResult(NamedTuple):
    """A suffix, and the search's course.

    Attributes:
      suffix: token ids [L], the best that was evaluated.
      loss: of that suffix, mean over prompts of the target's mean NLL, in nats.
      losses: the loss of the suffix at hand after each step [steps].
    """

    suffix: np.ndarray
    loss: float
    losses: np.ndarray


def make_attack(rows: Sequence[AttackRow], suffix_length: int) -> Attack:
    """The prompts of an attack as one right-padded batch.

    Raises:
      ValueError: no rows, a suffix of no tokens, or a row without prompt or target.
    """
    if not rows or suffix_length < 1:
        raise ValueError("an attack needs a prompt and a suffix of 1 token or more")
    for i, row in enumerate(rows):
        if not len(row.prompt_start) + len(row.prompt_end) or not len(row.target):
            raise ValueError(f"row {i} of the attack has no prompt or no target")
    blank = [0] * suffix_length
    prompts = [[*row.prompt_start, *blank, *row.prompt_end] for row in rows]
    texts = [[*p, *row.target] for p, row in zip(prompts, rows, strict=True)]
    lengths = np.array(list(map(len, texts)), np.int32)
    tokens = np.zeros((len(rows), lengths.max()), np.int32)
    for line, text in zip(tokens, texts, strict=True):
        line[: len(text)] = text
    starts = np.array([len(row.prompt_start) for row in rows], np.int32)
    batch = from_lengths(tokens, lengths, np.array(list(map(len, prompts)), np.int32))
    return Attack(batch, starts[:, None] + np.arange(suffix_length, dtype=np.int32))


def attack_loss(
    model: LanguageModel,
    params: Params,
    attack: Attack,
    suffix: Array,
    *,
    embeddings: Array | None = None,
    avoid: int | None = None,
) -> Array:
    """The mean over prompts of the target's mean NLL, in nats.

    loss = mean_p mean_t [-log pi(target_t | ...) - log(1 - pi(avoid | ...))]

    Args:
      suffix: token ids [L].
      embeddings: of the rows' tokens, in place of the model's own [P T D].
      avoid: as in `GcgOptions`; without, there is no second term.
    """
    batch, tokens = attack.batch, attack.with_suffix(suffix)
    inputs = {} if embeddings is None else {"embeddings": embeddings}
    read = model.hidden(params, tokens, batch.positions, batch.segments, **inputs)
    unembed, cap = model.unembed(params), model.config.logit_cap
    mask = jnp.asarray(batch.loss_mask)[:, 1:]
    logp = functools.partial(token_logprobs, read[:, :-1], unembed, logit_cap=cap)
    nll = -logp(tokens[:, 1:])
    if avoid is not None:
        nll = nll - log1mexp(logp(jnp.full_like(tokens[:, 1:], avoid)))
    return jnp.mean(jnp.sum(jnp.where(mask, nll, 0.0), 1) / jnp.sum(mask, 1))


@functools.partial(jax.jit, static_argnums=0, static_argnames="avoid")
def coordinate_gradient(
    model: LanguageModel,
    params: Params,
    attack: Attack,
    suffix: Array,
    *,
    avoid: int | None = None,
) -> tuple[Array, Array]:
    """The loss, and its gradient with respect to the suffix's one-hot tokens [L V].

    Raises:
      ValueError: the model takes no embeddings.
    """
    if model.embed is None:
        raise ValueError("GCG needs a model that takes embeddings")
    table = model.embed(params, jnp.arange(model.config.vocab_size))
    embeddings = model.embed(params, attack.with_suffix(suffix))
    rows = jnp.arange(len(attack.places))[:, None]

    def loss(one_hot: Array) -> Array:
        mixed = embeddings.at[rows, attack.places].set(one_hot @ table)
        return attack_loss(model, params, attack, suffix, embeddings=mixed, avoid=avoid)

    one_hot = jax.nn.one_hot(suffix, model.config.vocab_size, dtype=table.dtype)
    return jax.value_and_grad(loss)(one_hot)


@typed
def propose(
    key: Key,
    suffix: Int[Array, "L"],
    gradient: Float[Array, "L V"],
    allowed: Bool[Array, "V"],
    *,
    width: int,
    topk: int,
    replace: int,
) -> Int[Array, "W L"]:
    """Candidates: copies of the suffix with some places replaced.

    Each place takes one of its `topk` allowed tokens with the most negative gradient,
    uniformly.
    """
    length, vocab = gradient.shape
    place_key, token_key = jax.random.split(key)
    steepest = jnp.where(allowed, -gradient.astype(jnp.float32), -jnp.inf)
    count = min(topk, vocab)
    _, best = jax.lax.top_k(steepest, count)
    # fewer may be allowed than are asked for
    count = jnp.minimum(count, jnp.sum(allowed))
    order = jax.random.uniform(place_key, (width, length))
    places = jnp.argsort(order, axis=1)[:, :replace]
    ranks = jax.random.randint(token_key, places.shape, 0, count)
    rows = jnp.arange(width)[:, None]
    copies = jnp.broadcast_to(suffix, (width, length))
    return copies.at[rows, places].set(best[places, ranks])


@functools.partial(jax.jit, static_argnums=0, static_argnames=("avoid", "chunk"))
def candidate_losses(
    model: LanguageModel,
    params: Params,
    attack: Attack,
    candidates: Array,
    *,
    avoid: int | None = None,
    chunk: int = 64,
) -> Array:
    """The exact loss of each candidate suffix [W L], a chunk at a time: [W]."""
    loss = lambda suffix: attack_loss(model, params, attack, suffix, avoid=avoid)
    return jax.lax.map(loss, candidates, batch_size=chunk)


def optimize_suffix(
    model: LanguageModel,
    params: Params,
    attack: Attack,
    suffix: Sequence[int],
    *,
    key: Key,
    options: GcgOptions | None = None,
    allowed: np.ndarray | None = None,
    are_stable: Callable[[np.ndarray], np.ndarray] | None = None,
) -> GcgResult:
    """Search for a suffix after which the prompts are answered with their targets.

    Args:
      suffix: token ids to start from [L], as the 20 of "x x x ...".
      key: the search's randomness; step k uses a stream of its own.
      allowed: tokens that a suffix may have, bool [V]; all by default. Leave special
        tokens out.
      are_stable: (suffixes [W L]) -> bool [W], whether each is itself after decoding
        and encoding again; others are passed over. All are taken by default.

    Raises:
      ValueError: the suffix does not fit the attack, no token is allowed, or the model
        takes no embeddings.
    """
    options = options or GcgOptions()
    now = jnp.asarray(suffix, jnp.int32)
    vocab = model.config.vocab_size
    tokens = jnp.ones(vocab, bool) if allowed is None else jnp.asarray(allowed, bool)
    check_suffix(attack, now, tokens)
    evaluate = functools.partial(
        candidate_losses, model, params, attack, avoid=options.avoid
    )
    loss = float(evaluate(now[None], chunk=1)[0])
    best, losses = (loss, np.asarray(now)), []
    for step in range(options.steps):
        _, gradient = coordinate_gradient(
            model, params, attack, now, avoid=options.avoid
        )
        candidates = propose(
            streams.key(key, "gcg", step),
            now,
            gradient,
            tokens,
            width=options.width,
            topk=options.topk,
            replace=options.replace,
        )
        scores = np.array(evaluate(candidates, chunk=options.chunk))
        if are_stable is not None:
            scores[~np.asarray(are_stable(np.asarray(candidates)), bool)] = np.inf
        lowest = float(scores.min())
        if lowest < (loss if options.keep_best else np.inf):
            now, loss = candidates[int(scores.argmin())], lowest
        if loss < best[0]:
            best = (loss, np.asarray(now))
        losses.append(loss)
    return GcgResult(best[1], best[0], np.array(losses))


def check_suffix(attack: Attack, suffix: Array, allowed: Array) -> None:
    """Refuses a suffix that the attack has no places for, or no tokens.

    Raises:
      ValueError: says which.
    """
    if suffix.shape != attack.places.shape[1:]:
        raise ValueError(
            f"a suffix of {suffix.shape[0]} tokens; the attack has places for "
            f"{attack.places.shape[1]}"
        )
    if not allowed.any():
        raise ValueError("no token is allowed in the suffix")
