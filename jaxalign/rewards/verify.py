"""Rewards that can be checked: the right number, the right words, the right form."""

import re
from collections.abc import Iterable
from decimal import Decimal

# 1,800 and 1800, 18.5 and .5; a sign counts where it does not stand between numbers
DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
NUMBER = re.compile(rf"(?:(?<![\w.)])([-+\u2212]))?\$?(?<![0-9])({DIGITS})")
BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
MARKED = re.compile(rf"####\s*\$?\s*([-+\u2212]?)\$?({DIGITS})")
AT_THE_END = re.compile(rf"####\s*([-+\u2212]?)({DIGITS})\s*$")
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
THOUGHT = re.compile(
    r"\s*<think>((?:(?!</?(?:think|answer)>).)*)</think>\s*"
    r"<answer>((?:(?!</?(?:think|answer)>).)*)</answer>\s*",
    re.DOTALL,
)


def value(sign: str, digits: str) -> Decimal:
    """The number that is written so."""
    number = Decimal(digits.replace(",", ""))
    return number if sign in ("", "+") else -number


def final_number(text: str) -> Decimal | None:
    r"""The number that an answer comes to: what GSM8K's verifiers look for.

    The last one after "####"; or else the one in the last \boxed{}; or else the last.

    >>> final_number("9 * 200 = 1800 dollars.\n#### 1,800")
    Decimal('1800')
    >>> final_number(r"so \boxed{-3.5}, not 4"), final_number("It is $18. Not more.")
    (Decimal('-3.5'), Decimal('18'))
    >>> final_number("16-3=13"), final_number("none")
    (Decimal('13'), None)
    """
    marked = MARKED.findall(text)
    if marked:
        return value(*marked[-1])
    boxed = BOXED.findall(text)
    if boxed:
        inside = NUMBER.findall(re.sub(r"\{,\}|\\[,!]", "", boxed[-1]))
        return value(*inside[0]) if len(inside) == 1 else None
    found = NUMBER.findall(text)
    return value(*found[-1]) if found else None


def gsm8k(answer: str, references: Iterable[str], *, strict: bool = False) -> float:
    """1 where an answer comes to the same number as a reference, else 0.

    Args:
      strict: the answer must end with "#### " and the number alone, as GSM8K's own do.

    Reference: Cobbe et al. 2021, arXiv:2110.14168; verl's `gsm8k` reward, which has
    both forms.

    >>> gsm8k("She makes $18.00.", ["9 * 2 = 18\\n#### 18"])
    1.0
    >>> gsm8k("She makes $18.00.", ["9 * 2 = 18\\n#### 18"], strict=True)
    0.0
    """
    if strict:
        ended = AT_THE_END.search(answer)
        said = value(*ended.groups()) if ended else None
    else:
        said = final_number(concluded(answer))
    right = {final_number(reference) for reference in references} - {None}
    return float(said in right)


def concluded(text: str) -> str:
    """What stands in the last <answer></answer>; all of it where there is none.

    >>> concluded("<think>2 + 2</think><answer>4</answer>"), concluded("4")
    ('4', '4')
    """
    found = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    return found[-1] if found else text


def exact_match(answer: str, references: Iterable[str]) -> float:
    """1 where an answer is a reference, but for case and white space, else 0.

    >>> exact_match(" The  end.", ["a start", "the end."])
    1.0
    """
    said = concluded(answer).casefold().split()
    return float(any(said == told.casefold().split() for told in references))


def matches(answer: str, pattern: str) -> float:
    """1 where a regular expression is found in an answer, else 0.

    >>> matches("I am sorry, I cannot.", r"\\bsorry\\b")
    1.0
    """
    return float(re.search(pattern, answer) is not None)


def thought_then_answer(answer: str) -> float:
    """1 where an answer is <think>...</think><answer>...</answer>, each once, else 0.

    Reference: DeepSeek-AI 2025, arXiv:2501.12948, section 2.2.2 (format rewards).

    >>> thought_then_answer("<think>2 + 2</think> <answer>4</answer>")
    1.0
    >>> thought_then_answer("<answer>4</answer>")
    0.0
    """
    return float(THOUGHT.fullmatch(answer) is not None)
