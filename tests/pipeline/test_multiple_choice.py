"""Log-probs of options: against the model's own, in any batch, with either prompt."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxalign.pipeline import text_models
from jaxalign.pipeline.multiple_choice import scores as multiple_choice
from jaxalign.pipeline.multiple_choice.rows import parse_question
from jaxalign.pipeline.multiple_choice.scores import LETTERS, PRIMER
from tests.support.questions import bbq_row, truthful_row
from tests.support.tiny_judge import make_judge

CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.role == 'assistant' %}"
    "{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>"
    "{% endif %}"
)


@pytest.fixture(scope="module")
def policy():
    return make_judge()


@pytest.fixture(scope="module")
def chat_policy():
    model = make_judge()
    model.tokenizer.chat_template = CHAT
    return model


def questions(count=5):
    return [parse_question(bbq_row(i), f"b:{i}") for i in range(count)]


def scores(policy, table, rows=8, **settings):
    settings = {"scoring": "letters", "primer": True} | settings
    tokens = multiple_choice.tokenize_questions(policy, table, **settings)
    return multiple_choice.score_questions(policy, tokens, rows=rows), tokens


class TestPrompts:
    def test_each_rotation_shows_each_option_under_its_letter(self):
        options = multiple_choice.bbq_letters(questions(1)[0], is_chat=False)
        assert options.texts == [" A", " B", " C"] * 3
        second = options.prompts[3][0]["content"]  # rotation 1 begins with option 1
        assert "A. Unknown\nB. The dog person\nC. The cat person\n" in second
        assert second.endswith("Answer:")

    def test_the_primer_precedes_the_question_as_text_or_as_turns(self):
        question = parse_question(truthful_row(), "t:1")
        make = multiple_choice.truthful_texts
        plain = make(question, is_chat=False, primer=True)
        assert plain.prompts[0][0]["content"].count("Q: ") == len(PRIMER) + 1
        assert plain.texts == [f" {a}" for a in (*question.true, *question.false)]
        chat = make(question, is_chat=True, primer=True)
        assert [m["role"] for m in chat.prompts[0][:3]] == ["user", "assistant", "user"]
        assert len(chat.prompts[0]) == 2 * len(PRIMER) + 1
        assert len(make(question, is_chat=True, primer=False).prompts[0]) == 1

    def test_the_end_token_is_not_scored(self, policy, chat_policy):
        for model in (policy, chat_policy):
            _, tokens = scores(model, questions(1), scoring="texts")
            texts = [model.tokenizer.decode(r.tokens) for r in tokens[0].requests]
            assert [t.strip() for t in texts] == list(questions(1)[0].options)


class TestScores:
    def test_the_model_s_own_log_probs(self, policy):
        (found,), (tokens,) = scores(policy, questions(1), scoring="texts")
        for request, logp in zip(tokens.requests, found, strict=True):
            ids = np.array([[*request.context, *request.tokens]], np.int32)
            batch = text_models.pad([text_models.TokenRow(ids[0], ids[0] > -1)])
            logits = text_models.all_logits(policy.model, policy.params, batch)[0]
            logps = jax.nn.log_softmax(logits)
            first = len(request.context)
            own = sum(logps[i - 1, ids[0, i]] for i in range(first, ids.shape[1]))
            # float32 sums over other padded lengths: 1e-5 of a few tens of nats
            assert logp == pytest.approx(float(own), abs=1e-3)

    def test_batches_do_not_change_them(self, policy):
        table = questions(5)
        one, many = scores(policy, table, rows=1)[0], scores(policy, table, rows=8)[0]
        # float32 rounding
        np.testing.assert_allclose(np.stack(one), np.stack(many), atol=1e-4)

    def test_letters_are_normalized_in_each_rotation(self, chat_policy):
        letters = multiple_choice.letter_logps(scores(chat_policy, questions(3))[0])
        assert letters.shape == (3, len(LETTERS), len(LETTERS))
        # float32 rounding
        np.testing.assert_allclose(np.exp(letters).sum(axis=2), 1.0, rtol=1e-6)

    def test_texts_are_scored_per_byte(self):
        # 14, 7 and 14 bytes of "The cat person", "Unknown", "The dog person"
        logps = [np.array([-14.0, -14.0, -7.0])]
        found = multiple_choice.text_scores(logps, questions(1))
        np.testing.assert_allclose(found, [[-1.0, -2.0, -0.5]])

    def test_a_template_that_drops_the_prompt_names_the_row(self):
        model = make_judge()
        model.tokenizer.chat_template = "{{ messages[-1].content }}{{ eos_token }}"
        bad = dataclasses.replace(questions(1)[0], location="b.jsonl:7")
        with pytest.raises(ValueError):
            scores(model, [bad])
