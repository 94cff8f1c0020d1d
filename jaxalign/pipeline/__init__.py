"""Data and models together: data sets, policies, rollouts, rewards, evaluation.

model = pipeline.load("runs/sft/policy")        # on text: logits, logprobs, generate
reward = pipeline.load_reward("runs/reward_model/reward")
data = pipeline.datasets.load(config)           # records, as experiments read them
"""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Policy": "policies",
        "TextModel": "text_models",
        "TextReward": "text_models",
        "datasets": "datasets",
        "load": "text_models",
        "load_reward": "text_models",
        "reward_functions": "reward_functions",
        "rollouts": "rollouts",
    },
)
