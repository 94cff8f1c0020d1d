"""Rewards of rollouts: reward models, rule-based and verifiable rewards, LLM judges.

module           contents
---------------  ---------------------------------------------------------------------
reward_model     scores of a reward model at the last token; their normalization
reward_registry  rewards of texts by name: (prompts, answers, references) -> [B]
verifiable       right number (GSM8K), exact match, regular expression, format
overlap          BLEU and ROUGE-L against reference answers
rule_based       length and word-list rewards
judges           preferences and ratings from the log-probs of an LLM judge
judge_prompts    the judge's prompts and its constitution
combination      several rewards as one: weighted sums, ensembles, safety
shaping          penalties for missing EOS and overlong answers
validation       every reward is one finite number per row
"""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "combination": "combination",
        "judges": "judges",
        "make_reward": "reward_registry",
        "reward_model": "reward_model",
        "rule_based": "rule_based",
        "score": "reward_model",
        "shaping": "shaping",
        "verifiable": "verifiable",
    },
)
