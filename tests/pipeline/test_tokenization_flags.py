"""Flags that decide how texts become tokens: the day of a template, special tokens."""

import dataclasses
import datetime
import json
import types

import numpy as np
import pytest
from tokenizers import AddedToken

from experiments import sft
from jaxalign.batches import from_lengths
from jaxalign.data import chat, special_tokens
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.formats import row_limits
from jaxalign.data.records import Prompt
from jaxalign.pipeline import model_folders, policies, rollouts, text_rewards
from jaxalign.pipeline.prompts import select_prompts
from jaxalign.rewards import reward_registry

TODAY = datetime.date.today().isoformat()


@pytest.fixture
def tokenizer():
    made = tokenizers.train(["abc"] * 3, vocab_size=261)
    tags = ("<think>", "</think>", "<answer>", "</answer>")
    made.add_tokens([AddedToken(tag, special=True) for tag in tags])
    return made


def test_a_run_that_goes_on_keeps_the_day_of_its_start(tmp_path):
    first = sft.Config(out=tmp_path)
    assert first.template_date == TODAY
    settings = dataclasses.asdict(first) | {"template_date": "2025-01-02"}
    (tmp_path / "config.json").write_text(json.dumps(settings, default=str))
    # from the command line, and from Python the day after
    assert sft.Config(out=tmp_path, resume=True).template_date == "2025-01-02"
    assert dataclasses.replace(first, resume=True).template_date == "2025-01-02"
    # a new run has its own; one that was told the day is compared with what was
    assert sft.Config(out=tmp_path).template_date == TODAY
    told = sft.Config(out=tmp_path, resume=True, template_date="2024-03-04")
    assert told.template_date == "2024-03-04"
    (tmp_path / "config.json").write_text("[]")
    assert sft.Config(out=tmp_path, resume=True).template_date == TODAY


def test_the_day_reaches_the_template_and_no_file(tokenizer, tmp_path):
    dated = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}"
    tokenizer.chat_template = dated + "{% endfor %}"
    told = sft.Config(template_date="2024-07-26")
    used = policies.configure_tokenizer(told, tokenizer)
    asked = [{"role": "user", "content": "abc"}]
    text = used.decode(chat.encode_prompt(used, asked))
    assert text == "26 Jul 2024abc"
    model_folders.save_tokenizer(tmp_path, used)
    saved = tokenizers.load(tmp_path)
    assert saved.chat_template == tokenizer.chat_template
    assert "2024" not in "".join(f.read_text() for f in tmp_path.iterdir())
    wrong = sft.Config(template_date="26 Jul")
    with pytest.raises(ValueError, match="--template-date '26.*expected YYYY-MM-DD"):
        policies.configure_tokenizer(wrong, tokenizer)


@pytest.mark.parametrize("keep", [False, True])
def test_a_reward_sees_special_tokens_that_are_kept(tokenizer, keep):
    used = policies.configure_tokenizer(sft.Config(keep_special_tokens=keep), tokenizer)
    said = "<think>a</think><answer>b</answer>"
    prompt, answer = ([*used(text).input_ids] for text in ("abc", said + "<|end|>"))
    tokens = np.array([prompt + answer], np.int32)
    batch = from_lengths(tokens, np.array([tokens.shape[1]]), np.array([len(prompt)]))
    texts = rollouts.texts(types.SimpleNamespace(tokenizer=used), batch)
    assert texts == ([said] if keep else ["ab"])
    reward = reward_registry.make_reward("format")([[]], texts, [()])
    assert reward.tolist() == [float(keep)]
    for told in ("format", "regex:<answer>b"):  # what would be 0 always is refused
        if keep:
            text_rewards.check_special_tokens(told, used)
            continue
        with pytest.raises(ValueError, match="add --keep-special-tokens"):
            text_rewards.check_special_tokens(told, used)
    text_rewards.check_special_tokens("gsm8k", used)


def test_prompts_that_a_template_does_not_show_are_left_out_and_counted(tokenizer):
    policy = types.SimpleNamespace(
        tokenizer=tokenizer, config=types.SimpleNamespace(context=64)
    )
    asked = [{"role": "user", "content": "abc"}]
    tool = {"type": "function", "function": {"name": "time", "parameters": {}}}
    prompts = [Prompt(asked), Prompt(asked, tools=(tool,)), Prompt(asked * 30)]
    notes = []
    left = select_prompts(policy, prompts, 8, notes.append, "prompts")
    assert left.records == prompts[:1]
    why = "1 field 'tools': the chat template shows no tools"
    assert notes[0] == f"prompts: 2 of 3 rows ({why})"
    assert notes[1].startswith("prompts: 1 of 2 prompts (1 longer than 56 tokens")


@pytest.mark.parametrize("keep_special", [False, True])
def test_what_a_policy_says_is_text_that_a_row_may_hold(tokenizer, keep_special):
    """NUL is a byte's token; collected answers that held it could not be read back."""
    used = policies.configure_tokenizer(
        sft.Config(keep_special_tokens=keep_special), tokenizer
    )
    (text,) = special_tokens.decode_answers(used, [np.array(used("a\0b").input_ids)])
    assert text == "a\ufffdb"
    assert row_limits.check_row({"answers": [text]}, 9_999) == {"answers": [text]}
