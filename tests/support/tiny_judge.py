"""A small random judge, and answers for it."""

import dataclasses
from functools import partial

import jax

from jaxalign import streams
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import assistant_message
from jaxalign.models import transformer
from jaxalign.pipeline import llm_judge, policies
from jaxalign.pipeline.llm_judge import AnswerSet
from jaxalign.rewards import judge_prompts

QUESTION = [{"role": "user", "content": "How are you?"}]
ANSWER_SETS = [
    AnswerSet(QUESTION, ("Well, thank you.", "Leave me alone!", "Why?")),
    AnswerSet(
        [*QUESTION, assistant_message("Well."), *QUESTION],
        ("Still well.", "I told you."),
    ),
]


def make_judge():
    """A small model with random weights: labels that are arbitrary, but repeat."""
    # a tokenizer of judge prompts, so that questions are short
    text = judge_prompts.comparison_prompt(QUESTION, *ANSWER_SETS[0].answers[:2])
    tokenizer = tokenizers.train([text] * 9, vocab_size=512)
    shape = policies.toy_config(len(tokenizer), 512, "float32")
    small = {"width": 32, "hidden": 64, "layers": 1, "heads": 2, "kv_heads": 2}
    model = transformer.language_model(dataclasses.replace(shape, head_dim=16, **small))
    # far from uniform, so that options differ
    params = jax.tree.map(lambda x: 2 * x, model.init(jax.random.key(0)))
    return policies.Policy(model, params, tokenizer, 512)


def compare(model, answer_sets, principles=("Which is better?",)):
    """Comparisons by a judge, four questions at a time."""
    settings = llm_judge.JudgeSettings(batch_size=4)
    noise = partial(streams.generator, 0, "judge")
    return llm_judge.compare_answers(model, answer_sets, principles, noise, settings)
