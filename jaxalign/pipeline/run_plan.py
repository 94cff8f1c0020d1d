"""The plan of a training run: data, steps and rates, printed before the first step.

The same block of lines in every experiment, and the same facts in OUT/plan.json.
"""

import dataclasses
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxalign.data import chat
from jaxalign.data.examples import Example, example_sizes, longest_sequence
from jaxalign.data.records import Prompt, Record
from jaxalign.models import transformer
from jaxalign.pipeline.online import RolloutSetup
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.sampling_setup import SamplingSetup
from jaxalign.runtime import defaults, distributed, run_settings
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OnlineConfig, TrainConfig
from jaxalign.types import Params

LABEL, WIDTH = 15, 79  # columns of the labels, and of the whole block


@dataclasses.dataclass(frozen=True)
class Workload:
    """The training rows of a run, and how many of them are in a step.

    Attributes:
      kind: type of the records, by which their split is found in the run's data.json.
      unit: the plural noun for rows, such as "pairs".
      rows: training rows.
      tokens: tokens of all their sequences.
      longest: tokens of the longest sequence.
      steps: steps of the run.
      batch: rows in a step, on average.
      turns: the turns whose tokens are trained.
      packed: how rows are packed; empty if they are not.
    """

    kind: type[Record]
    unit: str
    rows: int
    tokens: int
    longest: int
    steps: int
    batch: float
    turns: str
    packed: str = ""

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        policy: Policy,
        *,
        kind: type[Record],
        unit: str,
        steps: int,
        batch: float,
        all_turns: bool = False,
        packed: str = "",
    ) -> "Workload":
        """The workload of a fixed data set's tokenized rows."""
        turns = chat.describe(policy.tokenizer, all_turns=all_turns)
        return cls(
            kind=kind,
            unit=unit,
            rows=len(examples),
            tokens=int(example_sizes(examples).sum()),
            longest=longest_sequence(examples),
            steps=steps,
            batch=batch,
            turns=turns.removeprefix("trained: "),
            packed=packed,
        )

    @classmethod
    def of_prompts(
        cls, setup: SamplingSetup, *, steps: int, turns: str = "", packed: str = ""
    ) -> "Workload":
        """The workload of prompts whose answers are sampled.

        Args:
          turns: by default the answers that the policy samples.
          packed: what else a step is made of, after the number of answers.
        """
        batches = setup.prompt_batches
        each = f"{batches.samples} answers" if batches.samples > 1 else "an answer"
        sampled = (
            "the answers that the policy samples, of at most "
            f"{setup.sampling.max_new_tokens} tokens"
        )
        return cls(
            kind=Prompt,
            unit="prompts",
            rows=len(setup.prompts),
            tokens=int(batches.lengths.sum()),
            longest=int(batches.lengths.max()),
            steps=steps,
            batch=batches.batch_size,
            turns=turns or sampled,
            packed=f"{each} to each{packed}",
        )


def show(
    run: Run,
    config: TrainConfig,
    policy: Policy,
    roles: Mapping[str, Params],
    work: Workload,
) -> dict[str, Any]:
    """Print the plan of a run and write it to OUT/plan.json.

    Args:
      config: with all defaults filled in (`defaults.resolve`).
      roles: trainable parameters of each role, such as "policy".

    Returns:
      The plan, as `plan_facts` makes it.
    """
    plan = plan_facts(run, config, policy, roles, work)
    run.say("\n".join([f"{run.experiment}: the plan", *plan_lines(plan)]))
    if distributed.is_first():
        run_settings.write_json(run.folder / "plan.json", plan)
    return plan


def show_online(
    run: Run, config: OnlineConfig, setup: RolloutSetup, roles: Mapping[str, Params]
) -> dict[str, Any]:
    """`show` for an online experiment, which trains on sampled answers."""
    work = Workload.of_prompts(
        setup, steps=config.steps, packed=f", {config.updates} updates"
    )
    return show(run, config, setup.policy, roles, work)


def plan_facts(
    run: Run, config: Any, policy: Policy, roles: Mapping[str, Params], work: Workload
) -> dict[str, Any]:
    """The plan as JSON values."""
    splits = run.files.data["splits"]
    # rows made from other records, as pairs from rankings, have no split of their own
    accounts = [a for a in splits if a["kind"] == work.kind.__name__] or splits
    account = accounts[-1] if accounts else {}
    layout = config.layout(work.steps)
    shapes = jax.eval_shape(
        transformer.language_model(policy.config).init, jax.random.key(0)
    )
    return {
        "defaults": defaults.describe_defaults(config.model),
        "model": config.model,
        "family": policy.config.family,
        "parameters": count_params(shapes),
        "train": config.train,
        "trained_parameters": {
            role: count_params(params) for role, params in roles.items()
        },
        "data": config.data,
        "unit": work.unit,
        "rows": work.rows,
        "tokens": work.tokens,
        "longest": work.longest,
        "read": [*account.get("read", ()), *run.files.data["notes"]],
        "held_out_rows": account.get("held_out_rows"),
        "held_out_prompts": account.get("held_out_prompts"),
        "trained_turns": work.turns,
        "context": policy.context,
        "steps": work.steps,
        "rows_per_step": work.batch,
        "packed": work.packed,
        "epochs": work.steps * work.batch / work.rows,
        "learning_rate": config.peak_rate,
        "schedule": layout["schedule"],
        "updates": layout["steps"],
        "warmup_updates": layout["warmup"],
    }


def count_params(params: Any) -> int:
    """The number of parameters in a tree of arrays or of their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """The facts of a plan as aligned lines.

    Args:
      plan: as `plan_facts` makes it.
    """
    trained = [
        f"{role} {number:,}" for role, number in plan["trained_parameters"].items()
    ]
    unit, packed = plan["unit"], plan["packed"]
    about = "" if float(plan["rows_per_step"]).is_integer() else "about "
    held_out = plan["held_out_rows"], plan["held_out_prompts"]
    left_out = [text for text in plan["read"] if "(" in text]
    decays = {"constant": "then constant", "linear": "then linearly to 0"}
    decay = decays.get(plan["schedule"], f"then {plan['schedule']} to 0")
    texts = {
        "defaults": plan["defaults"],
        "model": f"{plan['model']} ({plan['family']}), {plan['parameters']:,} "
        f"parameters; trained ({plan['train']}): {', '.join(trained)}",
        "data": f"{plan['data']}: {plan['rows']:,} {unit}, {plan['tokens']:,} tokens, "
        f"the longest sequence {plan['longest']:,}",
        "cut or dropped": "; ".join(left_out) or "none",
        "held out": "not known"
        if None in held_out
        else "{:,} rows of {:,} prompts".format(*held_out),
        "trained turns": plan["trained_turns"],
        "context": f"{plan['context']:,} tokens",
        "steps": f"{plan['steps']:,} of {about}{plan['rows_per_step']:.4g} {unit}"
        f"{f' ({packed})' if packed else ''}: {plan['epochs']:.3g} epochs",
        "learning rate": f"{plan['learning_rate']:g}, warmup over "
        f"{plan['warmup_updates']} of {plan['updates']:,} updates, {decay}",
    }
    return [line for label, text in texts.items() for line in two_columns(label, text)]


def two_columns(label: str, text: str) -> list[str]:
    """A label and its wrapped text as lines of two columns."""
    parts = textwrap.wrap(text, WIDTH - LABEL - 2, break_on_hyphens=False)
    labels = [label, *[""] * (len(parts) - 1)]
    return [f"  {a:<{LABEL}}{b}" for a, b in zip(labels, parts, strict=True)]
