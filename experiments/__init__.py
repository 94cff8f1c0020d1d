"""Programs, in the order of the pipeline: `python -m experiments.NAME --help`.

Train a policy by supervision
    sft                 supervised finetuning on conversations or plain text
Preferences
    collect             sample answers, label them: rankings and pairs
    judge               label answers with a language model (AI feedback)
    annotate            people judge answers in a browser: pairs, rankings, an arena
    winners             the best of n answers to each prompt, as SFT data
    prepare             data: filters, duplicates, leaks, a held-out split, a report
    inspect_data        examples of a data set, with the trained tokens marked
Rewards
    reward_model        Bradley-Terry and rankings: a scalar head on a policy
Align, offline
    dpo                 DPO and its family on pairs
    kto                 KTO on unpaired answers, labeled good or bad
Align, online
    ppo                 PPO with a value model and a KL penalty
    grpo                GRPO, RLOO, Dr. GRPO, DAPO, GSPO, CISPO, REINFORCE++
    online_dpo          any pairwise loss on fresh answers
    distill             a student from a teacher, on its own answers (GKD, reverse KL)
    best_of_n           reranking by a reward, measured against KL
    rejection_sampling  SFT on the best of n answers, in rounds
Pipelines
    rlhf                SFT -> preferences -> reward model -> best-of-n, DPO, PPO
    rounds              the same in rounds, as Llama 2 and 3 were trained
    methods             every method from one start: a table, reward against KL
Sweep and watch
    sweep               one program over values of its flags, and over seeds
    curves              learning curves of several runs, laid over each other
Look at a model
    generate            answers of models to prompts, as a file
    chat                a conversation in the terminal, streamed
    perplexity          NLL per token and bits per byte of texts
    score               rewards of given answers, by field, length and model
Compare and rate
    compare             win rates of models by a judge or a reward, both orders
    win_rate            raw and length-controlled win rates from judgements
    arena               Bradley-Terry ratings from battles, with intervals
    agreement           how far annotators agree, and what a reward model can reach
Benchmarks
    reward_bench        rewards on RewardBench 1 and 2, RM-Bench, or any pairs
    multiple_choice     BBQ and TruthfulQA by likelihood: bias and honesty
    red_team            attack success, refusals, over-refusal, broken answers
    mt_bench            two turns, rated by a judge or compared with a baseline
    lm_eval             the benchmarks of EleutherAI's evaluation harness
    evaluate            a suite of these on several models, in one report
Studies: python -m experiments.studies.NAME
    backtracking        [RESET] takes back unsafe beginnings: violations, false resets
    brevity             a second behavior by preference pairs of both signs
    safety              Llama 2's recipe: two reward models, a gate, distillation
    safety_model        its stages on a model and files of your own
    priority_orders     three laws in six orders, in an exact world
    attacks             attacks on an aligned model, their laws, defences' curves
    sycophancy          where it comes from; four protocols on any model
    mode_seeking        forward KL covers, reverse KL seeks; sampling adapters
    no_reward_model     BLEU, length, format, random rewards against a learned one
    over_optimization   gold against proxy reward in sqrt(KL): laws, peaks, ensembles
    details             PPO's implementation details, one off at a time
    weak_to_strong      a strong reward model from a weak one's labels
    displacement        when DPO lowers both answers of a pair, and what prevents it
    scores_or_pairs     scores, pairs and rankings at equal time of annotators
    next_pair           random against active choice of what people judge next
Measure and plan
    benchmark           losses side by side, in worlds whose optimum is known
    plan                memory, time and communication of a step on other devices
    speed               seconds of each stage, against other libraries
"""

import gc
import os
import signal
import sys

if sys.argv[:1] == ["-m"]:  # a command's imports: Ctrl-C is one line
    signal.signal(
        signal.SIGINT, lambda *_: (os.write(2, b"interrupted\n"), os._exit(130))
    )
    # nothing of what they make is garbage: collections are a fifth of their time.
    # `cli.run_command` enables them
    gc.disable()

# transformers would say at each start that it misses PyTorch, which nothing here needs
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
# XLA would raise an alarm, with advice on how to dump a program, where it compiles for
# minutes, as it does for large models; the progress bar says that it compiles. What
# ends a process is shown still, and TF_CPP_MIN_LOG_LEVEL=1 shows all
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
