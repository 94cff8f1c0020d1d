"""A conversation's cache: the answers of `generate`, from only the new tokens."""

import jax
import numpy as np
import pytest

from jaxalign import sampling
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig
from jaxalign.sampling import incremental
from jaxalign.sampling.incremental import PIECES, IncrementalDecoder
from jaxalign.sampling.sampling_params import SamplingParams
from tests.support import quick

CONTEXT, ROOM = 96, 8
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def model_and_params():
    shape = ModelConfig(
        vocab_size=64, width=32, hidden=48, layers=2, heads=2, kv_heads=1,
        head_dim=16, context=CONTEXT,
    )  # fmt: skip
    model = transformer.language_model(shape)
    # far from uniform, so that a wrong position or a lost key shows
    return model, jax.tree.map(lambda x: 3 * x, model.init(jax.random.key(0)))


@pytest.fixture
def decoder(model_and_params):
    return IncrementalDecoder(*model_and_params, CONTEXT)


def tokens(count, seed=0):
    return np.random.default_rng(seed).integers(0, 64, count).tolist()


def settings_of(**changes):
    """The same number of tokens everywhere: few programs are compiled."""
    return SamplingParams(max_new_tokens=ROOM, stop_tokens=(7,), **changes)


def generated(model_and_params, prompt, settings, row_id):
    padded = np.zeros((1, CONTEXT), np.int32)
    padded[0, : len(prompt)] = prompt
    samples = sampling.generate(
        *model_and_params, padded, np.array([len(prompt)]), KEY, settings,
        row_ids=np.array([row_id], np.int32),
    )  # fmt: skip
    return np.asarray(samples.tokens)[np.asarray(samples.mask)].tolist()


@pytest.mark.parametrize(
    "temperature, top_p",
    quick.only([(1.0, 0.8)], [(0.0, None), (1.0, None), (1.0, 0.8)]),
)
def test_turns_have_the_answers_of_generate(
    decoder, model_and_params, temperature, top_p
):
    settings = settings_of(temperature=temperature, top_p=top_p)
    conversation = tokens(20)
    for turn in range(3):
        read = decoder.read(conversation)
        answer = list(decoder.generate(settings, KEY, (turn, 5)))
        expected = generated(model_and_params, conversation, settings, (turn, 5))
        assert answer == expected
        # all of the first turn; later the last token of the answer, which was sampled
        # and not read, and the 6 of the new message
        assert read == (20 if turn == 0 else 1 + 6)
        conversation += answer + tokens(6, seed=turn + 1)


def test_a_changed_prefix_is_read_again_from_the_change(decoder, model_and_params):
    prompt = tokens(30)
    settings = settings_of(temperature=0.0)
    decoder.read(prompt)
    list(decoder.generate(settings, KEY, (0, 0)))
    changed = [*prompt[:10], (prompt[10] + 1) % 64, *prompt[11:25]]
    assert decoder.read(changed) == 15
    answer = list(decoder.generate(settings, KEY, (0, 0)))
    assert answer == generated(model_and_params, changed, settings, (0, 0))


def test_the_same_prompt_again_reads_its_last_token(decoder):
    settings = settings_of(temperature=0.0)
    prompt = tokens(30)
    decoder.read(prompt)
    first = list(decoder.generate(settings, KEY, (0, 0)))
    assert decoder.read(prompt) == 1
    assert list(decoder.generate(settings, KEY, (0, 0))) == first


@pytest.mark.parametrize("length", [1, 63, 64, 65, 80, 88])
def test_a_padded_piece_at_the_end_of_the_cache_harms_no_slot(
    decoder, model_and_params, length
):
    """43 tokens after 45: their piece of 64 would reach beyond 96 slots."""
    settings = settings_of(temperature=0.0)
    prompt = tokens(length, seed=length)
    decoder.read(prompt[: length // 2 + 1])
    decoder.read(prompt)
    answer = list(decoder.generate(settings, KEY, (0, 0)))
    assert answer == generated(model_and_params, prompt, settings, (0, 0))


def test_the_number_of_programs_does_not_grow_with_the_turns(decoder):
    settings = settings_of(temperature=0.0)
    before = incremental.read_piece._cache_size()
    conversation = []
    for turn in range(8):  # messages of 1 to 8 tokens, 36 together
        conversation += tokens(turn + 1, seed=turn)
        decoder.read(conversation)
        conversation += list(decoder.generate(settings, KEY, (0, 0)))[:7]
    assert incremental.read_piece._cache_size() - before <= len(PIECES)


def test_an_answer_that_is_left_keeps_the_cache(decoder, model_and_params):
    settings = settings_of(temperature=0.0)
    prompt = tokens(20)
    decoder.read(prompt)
    answer = decoder.generate(settings, KEY, (0, 0))
    begun = [next(answer), next(answer)]
    answer.close()
    longer = [*prompt, *begun, *tokens(3, seed=9)]
    assert decoder.read(longer) == 3
    rest = list(decoder.generate(settings, KEY, (0, 0)))
    assert rest == generated(model_and_params, longer, settings, (0, 0))


def test_prompts_and_answers_must_fit(decoder):
    for count in (0, CONTEXT + 1):
        with pytest.raises(ValueError, match=f"has {count} tokens; expected 1 to 96"):
            decoder.read(tokens(count))
    decoder.read(tokens(90))
    with pytest.raises(ValueError, match="answer of 7 tokens after 90 does not fit"):
        next(decoder.generate(SamplingParams(max_new_tokens=7), KEY, (0, 0)))
