"""On-policy distillation: a student follows a teacher on answers of its own (GKD).

In a step the student answers a batch of prompts, and at every token of its answers the
divergence of its next-token distribution from the teacher's is minimized: `--beta 0` is
forward KL, KL(teacher || student), `--beta 1` reverse KL, between them the generalized
Jensen-Shannon divergence. `--lmbda` is the share of such steps; the others are on the
answers of the data, or with `--seq-kd` on answers that the teacher samples. No gradient
flows through the sampling.

    lmbda 0, beta 0             knowledge distillation on given answers
    lmbda 0, beta 0, --seq-kd   sequence-level distillation, on the teacher's answers
    lmbda 0.5, beta 0.5         GKD, the default
    lmbda 1, beta 1             reverse KL on the student's own samples

The last is on-policy distillation as Thinking Machines describe it, and MiniLLM without
the rewards of later tokens: their policy gradient of the sampled token's log-ratio has
this loss's gradient as its mean over that token, which is computed here exactly.

The teacher is a model of any size with the student's tokenizer, such as a larger one of
the same family, or one that was trained by RL; another tokenizer is refused.

    python -m experiments.distill --teacher FOLDER --model FOLDER --data answers.jsonl
    python -m experiments.distill --teacher FOLDER --model FOLDER \\
        --data prompts.jsonl --lmbda 1 --beta 1

Rows may be prompts alone where no step is on the answers of the data. In the toy world
any run's policy is a teacher, and these two commands distill one into a new model:

    python -m experiments.sft --out runs/teacher
    python -m experiments.distill --teacher runs/teacher/policy

docs/distillation.md has a wider teacher, and the results of all betas and lmbdas. Flags
are named as in TRL's GKDConfig. Held-out metrics, at the start, at the end and every
--eval-every steps: docs/metrics.md.

Reference: Agarwal et al. 2023, arXiv:2306.13649 (GKD); Gu et al. 2023, arXiv:2306.08543
(MiniLLM); Kim and Rush 2016, arXiv:1606.07947 (sequence-level).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax

from jaxalign import sharding, streams
from jaxalign.data import batch_size, loader
from jaxalign.data.examples import Example, longest_sequence
from jaxalign.data.records import Demonstration
from jaxalign.pipeline import (
    datasets,
    held_out_metrics,
    online,
    policies,
    rollout_samples,
    rollout_scores,
    run_plan,
    sampling_setup,
    teachers,
    trainable,
)
from jaxalign.runtime import defaults, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import Dtype
from jaxalign.runtime.loggers import LogFunction, Logger
from jaxalign.runtime.loop import LoopState, Resumable
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig, SamplingConfig
from jaxalign.training import objectives, state, step
from jaxalign.training.objectives import DistillationBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SamplingConfig, OfflineConfig):
    """On-policy distillation."""

    EXPERIMENT: ClassVar[str] = "distill"
    RANGES: ClassVar = {"lmbda": flags.SHARE, "beta": flags.SHARE}
    teacher: str = ""
    """The teacher: a Hugging Face folder or ORG/NAME of a hub; of another size than
    --model, with the same tokenizer."""
    teacher_dtype: Dtype = "float32"
    """The type of the teacher's parameters; with bfloat16 of its computation, too."""
    lmbda: float = 0.5
    """Share of the steps on answers that the student samples."""
    beta: float = 0.5
    """The divergence: 0 is forward KL, KL(teacher || student), 1 reverse KL; between
    them the generalized Jensen-Shannon divergence."""
    seq_kd: bool = False
    """The other steps are on answers that the teacher samples, not on the data's."""
    temperature: float = 1.0
    """Temperature of the sampling, and of both distributions in the loss."""
    batch: int = 32
    """Prompts, or given answers, in a step, over all devices."""

    def is_on_policy(self, step: int) -> bool:
        """Whether the student samples the answers of a step, by the step's own coin."""
        coin = streams.generator(self.seed, "on-policy", step)
        return bool(coin.random() < self.lmbda)


def main(
    config: Config, loggers: Sequence[Logger | LogFunction] = ()
) -> dict[str, Any]:
    """Distills a teacher into a student, which is written to OUT/policy.

    Args:
      loggers: functions f(step, metrics), or loggers, beside those of `config.log`.

    Returns:
      Held-out metrics (`eval/...`) and the last step's (`train/...`).

    Raises:
      ValueError: bad data or flags, or a teacher with another tokenizer.
    """
    check(config)
    config = defaults.resolve(config)
    with Run(config, "distill", loggers) as run:
        devices = sharding.row_shards(run.mesh)
        batch_size.check_divides(
            config.batch, micro_batches=config.micro_batches, devices=devices
        )
        source = datasets.load(config)
        opened = open_teacher(config, source, run)
        given = given_answers(config, source)
        setup = sampling_setup.prepare(config, run, source, prompts=config.batch)
        prompts, student = setup.prompt_batches, setup.policy
        examples = datasets.tokenize_records(
            config, given, student, run.note, "answers"
        )
        longest = max(
            prompts.width + setup.sampling.max_new_tokens,
            longest_sequence(examples) if examples else 0,
        )
        teacher = teachers.load(opened, student, mesh=run.mesh, longest=longest)
        from_teacher = dataclasses.replace(setup, policy=teacher)
        answers = None
        if given:
            batch_size.check_size(config.batch, len(examples))
            answers = loader.batches(
                *(examples, config.batch),
                kind=Demonstration,
                seed=config.seed,
                mesh=run.mesh,
            )

        work = workload(config, setup, examples)
        steps = work.steps
        adam = config.adamw(steps)
        trained = trainable.make_trainable(config, student.params)
        update = step.make_step(
            objectives.distillation(
                student.model,
                teacher.model,
                beta=config.beta,
                temperature=config.temperature,
            ),
            adam,
            micro_batches=config.micro_batches,
            merge=trained.merge,
            donate=not config.debug_nans,
        )
        train_state = state.create(trained.params, adam, jax.random.key(config.seed))
        roles = lambda train_state: {"policy": train_state.params}
        iterators: dict[str, Resumable] = {"prompts": prompts}
        if answers:  # the epoch that is logged is that of the first
            given_first = {"data": answers, **iterators}
            iterators = iterators | given_first if config.lmbda else given_first
        loop = LoopState(0, train_state, iterators)
        loop = run.restore(loop, roles(train_state), total=steps, rate=config.rate)
        train_state = loop.state
        run_plan.show(run, config, student, roles(train_state), work)
        measure = held_out_metrics.distillation(
            *(config, run, setup, teacher, trained.parameters), beta=config.beta
        )
        run.evaluate(loop, roles(train_state), measure)

        for i in run.steps(loop.step, steps):
            params = trained.parameters(train_state.params)
            rollout_key = streams.key(train_state.key, "rollouts", i)
            rollout, samples = None, None
            if config.is_on_policy(i):  # answers of the student
                rollout = online.sample_rollout(
                    setup, params, next(prompts), rollout_key
                )
                batch = DistillationBatch(rollout.sequences, rollout.sampler_logp)
                samples = rollout_samples.student_samples(
                    config, setup, teacher, rollout
                )
            elif answers is not None:  # of the data
                placed = sharding.place_batch(next(answers), run.mesh)
                batch = DistillationBatch(placed)
            else:  # of the teacher
                rollout = online.sample_rollout(
                    from_teacher, teacher.params, next(prompts), rollout_key
                )
                batch = DistillationBatch(rollout.sequences)

            train_state, metrics = update(train_state, batch, teacher.params)

            ended = rollout_scores.ended_metrics(rollout.ended) if rollout else {}
            source_batches = answers if rollout is None and answers else prompts
            run.log(
                i,
                rollout=ended | {"on_policy": float(config.is_on_policy(i))},
                update=metrics,
                tokens=batch.sequences.tokens.size,
                rows=source_batches.rows,
                samples=samples,
            )
            loop = LoopState(i + 1, train_state, iterators)
            run.evaluate(loop, roles(train_state), measure)
            run.checkpoint(loop, roles(train_state))
            online.warn_logprob_mismatch(run.last, config.logp_gap)

        train_state = run.exported_state(loop, roles(train_state))
        params = trained.parameters(train_state.params)
        trainable.save(config, run.folder, student, params, train_state.params)
        return run.finish(run.results())


def open_teacher(
    config: Config, source: datasets.Dataset, run: Run
) -> teachers.OpenTeacher:
    """The teacher's folder, whose tokenizer is the student's; no weights are read.

    Raises:
      ValueError, OSError: see `teachers.open_teacher`.
    """
    tokenizer, _ = policies.tokenizer_of(config, source)
    small = config.teacher_dtype == "bfloat16"
    opened = teachers.open_teacher(
        config.teacher,
        tokenizer,
        dtype="bfloat16" if small else config.dtype,
        param_dtype=config.teacher_dtype,
    )
    run.say(f"distill: the teacher is {config.teacher}, {opened.describe(tokenizer)}")
    return opened


def given_answers(config: Config, source: datasets.Dataset) -> list[Demonstration]:
    """The answers of the data that some steps are on; empty where no step is.

    Raises:
      ValueError: the data have none.
    """
    if config.lmbda == 1 or config.seq_kd:
        return []
    try:
        return source.demonstrations()[0]
    except ValueError as error:
        error.add_note(
            f"--lmbda {config.lmbda:g} has steps on the answers of the data: for "
            "prompts alone set --lmbda 1, or --seq-kd for answers of the teacher"
        )
        raise


def workload(
    config: Config, setup: sampling_setup.SamplingSetup, examples: Sequence[Example]
) -> run_plan.Workload:
    """The rows and steps of the run: of prompts, or of given answers where all are."""
    only_given = bool(examples) and config.lmbda == 0
    rows = len(examples) if only_given else len(setup.prompts)
    steps = defaults.total_steps(config, rows, config.batch)
    if only_given:
        return run_plan.Workload.of(
            *(examples, setup.policy),
            kind=Demonstration,
            unit="answers",
            steps=steps,
            batch=config.batch,
        )
    others = "teacher" if config.seq_kd else "data"
    shares = {"student": config.lmbda, others: 1 - config.lmbda}
    shown = [f"{share:.0%} of the {who}" for who, share in shares.items() if share]
    turns = (
        f"answers, {' and '.join(shown)}; sampled ones have at most "
        f"{setup.sampling.max_new_tokens} tokens"
    )
    return run_plan.Workload.of_prompts(setup, steps=steps, turns=turns)


def check(config: Config) -> None:
    """Refuses a configuration without a teacher.

    Raises:
      ValueError: names the flag.
    """
    if not config.teacher:
        raise ValueError(
            "--teacher is missing: the folder of a model with the student's tokenizer, "
            "such as runs/ppo/policy; python -m experiments.rlhf trains one of the toy "
            "world"
        )


if __name__ == "__main__":
    launch(main, Config)
