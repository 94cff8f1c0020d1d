"""The judge's questions about answers to MT-Bench, filled into its prompts."""

from collections.abc import Mapping, Sequence

from jaxalign.data.records import Messages
from jaxalign.pipeline.mt_bench.files import JudgePrompt, Question

REFERENCE_CATEGORIES = frozenset({"math", "reasoning", "coding"})
SINGLE = ("single-v1", "single-math-v1")
PAIR = ("pair-v2", "pair-math-v1")
MULTI_TURN = "-multi-turn"


def has_reference(question: Question, turn: int) -> bool:
    """Whether a turn is judged with references: by category, where they exist."""
    known = [text for text in question.references[:turn] if text.strip()]
    return question.category in REFERENCE_CATEGORIES and len(known) == turn


def lacks_reference(question: Question) -> bool:
    """Whether a question should be judged with references, and has not all of them."""
    needs = question.category in REFERENCE_CATEGORIES
    return needs and not has_reference(question, len(question.turns))


def prompt_name(names: tuple[str, str], question: Question, turn: int) -> str:
    """The name of the judge's prompt: general or with a reference, one turn or two.

    >>> prompt_name(SINGLE, Question(1, "math", ("2+2?", "3+3?"), ("4", "6")), 2)
    'single-math-v1-multi-turn'
    """
    general, reference = names
    base = reference if has_reference(question, turn) else general
    return base + MULTI_TURN * (turn > 1)


def check_judge_prompts(
    prompts: Mapping[str, JudgePrompt],
    questions: Sequence[Question],
    names: tuple[str, str],
    path: object,
) -> None:
    """Refuses a file that lacks a prompt that is needed, before anything is computed.

    Raises:
      ValueError: names the prompt, or a field in it that is unknown.
    """
    for question in questions:
        for turn in range(1, len(question.turns) + 1):
            name = prompt_name(names, question, turn)
            if name not in prompts:
                raise ValueError(
                    f"--judge-prompts {path} has no prompt {name!r}; it has "
                    f"{', '.join(prompts)}"
                )
            empty = [""] * turn
            try:
                judge_question(prompts, names, question, turn, [empty, empty])
            except (KeyError, IndexError, ValueError, AttributeError) as error:
                raise ValueError(
                    f"--judge-prompts {path}: the template of {name!r} cannot be "
                    f"filled in ({error}); braces are for fields such as {{question}}"
                ) from error


def judge_question(
    prompts: Mapping[str, JudgePrompt],
    names: tuple[str, str],
    question: Question,
    turn: int,
    answers: Sequence[Sequence[str]],
) -> Messages:
    """The judge's conversation about the answers of one model, or of two.

    Args:
      names: `SINGLE` or `PAIR`.
      turn: 1 or 2, the turn that is judged; the judge sees those before it.
      answers: of each model its answers, at least to these turns; the first is A.
    """
    prompt = prompts[prompt_name(names, question, turn)]
    first, *others = answers
    second = others[0] if others else first
    fields = {
        "question": question.turns[turn - 1],
        "answer": first[turn - 1],
        "answer_a": first[turn - 1],
        "answer_b": second[turn - 1],
    }
    for i in range(turn):
        fields |= {
            f"question_{i + 1}": question.turns[i],
            f"answer_{i + 1}": first[i],
            f"answer_a_{i + 1}": first[i],
            f"answer_b_{i + 1}": second[i],
        }
    for i, reference in enumerate(question.references):
        fields[f"ref_answer_{i + 1}"] = reference
    text = prompt.template.format(**fields)
    system = [{"role": "system", "content": prompt.system}]
    return [*(system * bool(prompt.system.strip())), {"role": "user", "content": text}]
