"""Control rewards: even odds, the same twice, and no two prompts alike."""

import numpy as np

from jaxalign.rewards.controls import constant_reward, random_reward


def prompt(text):
    return [{"role": "user", "content": text}]


def test_random_rewards_are_even_and_repeat():
    prompts = [prompt(f"what is {i} + {i}?") for i in range(4000)]
    rewards = np.array(random_reward(prompts, ["it is 4."] * 4000))
    # the standard error of a share of 4,000 is 0.008
    np.testing.assert_allclose(rewards.mean(), 0.5, atol=0.032)
    # nor does one tell of the next
    np.testing.assert_allclose((rewards[1:] == rewards[:-1]).mean(), 0.5, atol=0.032)
    assert rewards.tolist() == random_reward(prompts, ["it is 4."] * 4000)


def test_an_answer_has_other_rewards_after_other_prompts():
    answers = ["sure, it is 4.", "it is 5.", "no."]
    table = np.array([random_reward([prompt(str(i))] * 3, answers) for i in range(999)])
    np.testing.assert_allclose(table.mean(axis=0), 0.5, atol=0.07)
    np.testing.assert_allclose(np.corrcoef(table.T) - np.eye(3), 0.0, atol=0.13)


def test_a_constant_reward_is_constant():
    assert constant_reward([prompt("a"), prompt("b")], ["", "x"]) == [1.0, 1.0]
