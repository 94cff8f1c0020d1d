"""A model of EleutherAI's evaluation harness, lm_eval: registered as `jaxalign`.

    import lm_eval
    from jaxalign.pipeline import lm_eval_model

    lm_eval.simple_evaluate(
        "jaxalign", model_args={"pretrained": "runs/dpo/policy"}, tasks=["hellaswag"]
    )

or `python -m experiments.lm_eval`. Texts become tokens as in the harness's `hf` model,
so that both give the same numbers: white space at the end of a context moves to the
continuation, an empty context is the beginning token (or the end token), contexts that
are too long are cut from the left.

Reference: Gao et al., A framework for few-shot language model evaluation,
doi:10.5281/zenodo.10256836; written for lm_eval 0.4.13 (the extra `lm-eval`).
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import tokenizer as tokenizers
from jaxalign.pipeline.continuation_scores import (
    Continuation,
    ContinuationScore,
    excess_tokens,
    score_continuations,
)
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.harness import arguments as harness_arguments
from jaxalign.pipeline.harness import texts as harness_texts
from jaxalign.pipeline.harness.until_generation import (
    UntilSettings,
    generate_until,
    parse_settings,
)
from jaxalign.pipeline.policies import Policy

MISSING = "lm_eval, the evaluation harness, is not installed (the extra lm-eval)"
INSTALLED = True
try:
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ImportError:
    INSTALLED = False
    TemplateLM = object
    register_model = lambda name: lambda cls: cls

MAX_NEW_TOKENS = 256  # of a request that names no length, as in the `hf` model

# Wraps an iterable of batches: (batches, text, number of batches or None).
Progress = Callable[[Iterable[Any], str], Iterable[Any]]


def require() -> None:
    """Refuses to go on without lm_eval.

    Raises:
      ImportError: it is not installed; names the extra.
    """
    if not INSTALLED:
        raise ImportError(MISSING, name="'jaxalign[lm-eval]'")


@register_model("jaxalign")
class HarnessModel(TemplateLM):
    """A policy as the harness's language model.

    Attributes:
      policy: model, parameters and tokenizer; rows are divided over its mesh.
      cut: how many requests had their context cut from the left, by method.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        rows: int = 64,
        seed: int = 0,
        name: str = "",
        progress: Progress = lambda batches, text: batches,
    ) -> None:
        """Args:

        rows: sequences that are computed at one time.
        seed: of sampled answers; greedy ones do not depend on it.
        name: of the model, in the harness's results.
        progress: shows a bar, such as `ReportRun.progress`.
        """
        require()
        super().__init__()
        self.policy, self.tokenizer = policy, policy.tokenizer
        self.rows, self.seed, self.name = rows, seed, name
        self.progress = progress
        self.cut: dict[str, int] = {}
        # the answers to a question have one context, one after the other
        encode = functools.partial(harness_texts.encode, self.tokenizer)
        self.encode = functools.lru_cache(1024)(encode)

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> "HarnessModel":
        """Loads a model by arguments such as "pretrained=FOLDER,dtype=bfloat16"."""
        arguments = harness_arguments.parse_arguments(arg_string)
        return cls.create_from_arg_obj(arguments, additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "HarnessModel":
        """Loads a model by its arguments, see `harness_arguments.read_arguments`."""
        require()
        folder, config = harness_arguments.read_arguments(
            {**(additional_config or {}), **arg_dict}
        )
        mesh = evaluation_models.evaluation_mesh(config)
        policy = evaluation_models.load_policy(config, folder, mesh)
        return cls(policy, rows=config.rows, seed=config.seed, name=folder)

    @property
    def eot_token_id(self) -> int:
        """The id of the token that ends texts."""
        return cast(int, self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The id of the token that stands for an empty context."""
        return harness_texts.prefix_token(self.tokenizer)

    @property
    def max_length(self) -> int:
        """Tokens of the longest input."""
        return self.policy.context

    @property
    def tokenizer_name(self) -> str:
        """A name that differs where texts become other tokens."""
        name = self.name.strip("/").replace("/", "__")
        return f"{name}-{tokenizers.fingerprint(self.tokenizer)}"

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Token ids of a text, see `harness_texts.encode`."""
        return list(self.encode(string, add_special_tokens))

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """The log-prob of each continuation, in nats, and whether it is greedy.

        Args:
          requests: with `args` (context, continuation).

        Raises:
          ValueError: an empty continuation, or one longer than the model's context.
        """
        harness_texts.check_continuations([request.args for request in requests])
        scores = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return cast(list[tuple[float, bool]], scores)

    def _loglikelihood_tokens(
        self, requests: Sequence[Any], disable_tqdm: bool = True, **_: Any
    ) -> list[tuple[float, bool]]:
        """Scores of ((context, continuation), context ids, continuation ids)."""
        harness_texts.check_tokens(requests, self.max_length)
        pairs = [Continuation(context, tokens) for _, context, tokens in requests]

        def keep(i: int, score: ContinuationScore) -> None:
            self.cache_hook.add_partial("loglikelihood", requests[i][0], tuple(score))

        scores = self.score("loglikelihood", pairs, "log-probs", keep)
        return [(score.logp, score.is_greedy) for score in scores]

    def score(
        self,
        method: str,
        pairs: Sequence[Continuation],
        text: str,
        keep: Callable[[int, ContinuationScore], None] = lambda i, score: None,
    ) -> list[ContinuationScore]:
        """Scores of tokenized requests, in their order.

        Args:
          method: whose cut contexts are counted.
          text: beside the progress bar.
          keep: gets each score by its index, as soon as it is known.
        """
        excess = [excess_tokens(pair, self.max_length) for pair in pairs]
        self.cut[method] = self.cut.get(method, 0) + int(np.count_nonzero(excess))
        scores: dict[int, ContinuationScore] = {}
        batches = score_continuations(self.policy, pairs, rows=self.rows)
        for batch in self.progress(batches, text):
            for i, score in batch.items():
                keep(i, score)
            scores |= batch
        return [scores[i] for i in range(len(pairs))]

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = True
    ) -> list[float]:
        """The log-prob of each whole text, in nats, of requests with `args` (text,).

        Each token is predicted once: those of the first window after the prefix token,
        those of the others with as much context as fits.
        """
        pairs: list[Continuation] = []
        counts = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            before = len(pairs)
            pairs += [Continuation(*make_disjoint_window(window)) for window in windows]
            counts.append(len(pairs) - before)
        each = [s.logp for s in self.score("rolling", pairs, "log-probs of texts")]
        ends = np.cumsum([0, *counts])
        totals = [sum(each[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(
        self, requests: Sequence[Any], disable_tqdm: bool = True
    ) -> list[str]:
        """An answer to each context, cut before the first of its `until` strings.

        Sampled answers to the same context differ; a seed gives the same ones again.

        Args:
          requests: with `args` (context, settings), see `parse_settings`.

        Raises:
          ValueError: a setting that the sampler does not have, or an answer that does
            not fit in the model's context.
        """
        texts = [request.args[0] for request in requests]
        ids = streams.answer_ids([streams.prompt_id([text]) for text in texts], 1)
        groups: dict[UntilSettings, list[int]] = {}
        for i, request in enumerate(requests):
            settings = parse_settings(request.args[1], MAX_NEW_TOKENS)
            groups.setdefault(settings, []).append(i)
        key = streams.key(jax.random.key(self.seed), "lm_eval")
        answers: dict[int, str] = {}
        for settings, members in groups.items():
            contexts = [self.fit_context(texts[i], settings) for i in members]
            batches = generate_until(
                *(self.policy, contexts, ids[members], key, settings), rows=self.rows
            )
            for batch in self.progress(batches, "answers"):
                for n, answer in batch.items():
                    args = requests[members[n]].args
                    self.cache_hook.add_partial("generate_until", args, answer)
                    answers[members[n]] = answer
        return [answers[i] for i in range(len(requests))]

    def fit_context(self, text: str, settings: UntilSettings) -> list[int]:
        """Token ids of a context, cut from the left to leave room for the answer.

        Raises:
          ValueError: the longest answer alone does not fit.
        """
        room = self.max_length - settings.max_new_tokens
        if room < 1:
            raise ValueError(
                f"answers of up to {settings.max_new_tokens} tokens (max_gen_toks) do "
                f"not fit in the model's context of {self.max_length}"
            )
        tokens = self.tok_encode(text) or [self.prefix_token_id]
        cut = len(tokens) > room
        self.cut["generate_until"] = self.cut.get("generate_until", 0) + cut
        return tokens[-room:]

    def apply_chat_template(
        self,
        chat_history: Sequence[Mapping[str, str]],
        add_generation_prompt: bool = True,
    ) -> str:
        """Messages as text, see `harness_texts.render_chat`."""
        return harness_texts.render_chat(
            self.tokenizer, chat_history, prompt=add_generation_prompt
        )

    def get_model_info(self) -> dict[str, Any]:
        """What the harness's results say of the model."""
        sizes = [x.size for x in jax.tree.leaves(self.policy.params)]
        return {"model": self.name, "model_num_parameters": int(sum(sizes))}
