"""What sampling answers in a training loop needs: a policy, and batches of prompts."""

import dataclasses
import functools

from jax.sharding import Mesh

from jaxalign import sharding
from jaxalign.data import batch_size
from jaxalign.pipeline import datasets, held_out_groups, policies, rollouts, trainable
from jaxalign.pipeline.prompts import (
    PromptIterator,
    TokenizedPrompts,
    pad_prompts,
    select_prompts,
)
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import SamplingConfig
from jaxalign.sampling import SamplingParams


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSetup:
    """The fixed parts of an experiment that samples answers while it trains.

    Attributes:
      policy: the initial policy; its parameters are also the reference's.
      dataset: the data set of the prompts.
      prompts: all prompts, tokenized.
      prompt_batches: endless batches of them; the position is part of the loop's state.
      sampling: length and distribution of the answers.
      slots: answers that are sampled at one time; 0 for all.
      answers_per_row: answers that follow one copy of their prompt in a row of the
        batch that models read.
      answers_per_block: answers to one prompt that stay together in minibatches; does
        not depend on the mesh.
      mesh: that prompts and answers are divided over.
    """

    policy: policies.Policy
    dataset: datasets.Dataset
    prompts: TokenizedPrompts
    prompt_batches: PromptIterator
    sampling: SamplingParams
    slots: int
    answers_per_row: int
    answers_per_block: int
    mesh: Mesh

    @property
    def tokens_per_iteration(self) -> int:
        """Places for tokens in the prompts and answers of an iteration."""
        batches = self.prompt_batches
        width = batches.width + self.sampling.max_new_tokens
        return batches.batch_size * batches.samples * width


def prepare(
    config: SamplingConfig,
    run: Run,
    dataset: datasets.Dataset,
    *,
    prompts: int,
    samples: int = 1,
    minibatches: int = 1,
    flag: str = "--batch",
) -> SamplingSetup:
    """Loads the policy, and tokenizes the prompts.

    Args:
      prompts, samples: prompts of an iteration over all devices, answers to each.
      minibatches: that the answers of an iteration are divided into.
      flag: the name of `prompts` on the command line.

    Raises:
      ValueError: the prompts do not divide over the devices, or bad data.
    """
    devices = sharding.row_shards(run.mesh)
    if prompts % devices:
        raise ValueError(
            f"the {prompts} prompts of an iteration, {flag}, do not "
            f"divide over {devices} devices: give a multiple, or mend --mesh"
        )
    held_out_groups.check_split(config, dataset.prompts()[1])
    policy = policies.load(config, dataset, run.mesh)
    longest = config.max_new_tokens or dataset.max_new_tokens
    selected = select_prompts(
        policy, dataset.prompts()[0], longest, run.note, "prompts"
    )
    batch_size.check_size(prompts, len(selected), flag=flag, may_repeat=True)
    run.describe_data(dataset.accounts())
    tokens, lengths = pad_prompts(policy, selected, longest)
    policy = policies.extend_longrope(policy, tokens.shape[1] + longest)
    policy = trainable.with_frozen_base(config, policy)
    per_row = functools.partial(rollouts.answers_per_row, policy.config)
    per_block = per_row(prompts, samples, parts=minibatches)
    blocks = prompts * samples // per_block
    return SamplingSetup(
        policy=policy,
        dataset=dataset,
        prompts=selected,
        prompt_batches=PromptIterator(
            *(selected.records, (tokens, lengths), prompts),
            samples=samples,
            seed=config.seed,
            mesh=run.mesh,
        ),
        sampling=SamplingParams(max_new_tokens=longest, temperature=config.temperature),
        slots=config.slots,
        answers_per_row=per_row(blocks, per_block, parts=minibatches * devices),
        answers_per_block=per_block,
        mesh=run.mesh,
    )
