"""Rewards that can be checked: the right number, the right words, the right form."""

import collections
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

import regex

from jaxalign.messages import shorten

PATTERN_TIMEOUT = (
    5.0  # of the processor, that a pattern of a user's may take on one answer
)
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

# 1,800 and 1800, 18.5, .5 and 1e-5; a sign counts where it does not stand between
# numbers
DIGITS = (
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:[eE][-+]?[0-9]+(?!\w))?"
)
SIGN = r"[-+\u2212]"
NUMBER = re.compile(rf"(?:(?<![\w.)])({SIGN}))?\$?(?<![0-9])({DIGITS})")
# what follows "####" and white space: of both no character is read twice
MARKED = re.compile(rf"(?:\$\s*)?({SIGN}?)\$?({DIGITS})")
ENDING = re.compile(rf"({SIGN}?)({DIGITS})")
MARKS = re.compile(r"#{4,}\s*")
BRACES = re.compile(r"\\boxed\s*\{|[{}]")
TAG = re.compile("|".join(TAGS))
# The parts of a regular expression: escapes and sets, smallest counts, all else.
PARTS = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{0*([0-9]{1,12})[0-9]*(?:,[0-9]*)?\}|.", re.DOTALL
)


def parse_decimal(sign: str, digits: str) -> Decimal | None:
    """The number that is written so, exactly; None where its exponent has no end."""
    minus = "-" if sign in ("-", "\u2212") else ""
    try:
        return Decimal(minus + digits.replace(",", ""))
    except InvalidOperation:
        return None


def final_number(text: str) -> Decimal | None:
    r"""The number that an answer comes to: what GSM8K's verifiers look for.

    The last one after "####"; or else the one in the last \boxed{}; or else the last.
    Takes time in proportion to the text, whatever it says.

    >>> final_number("9 * 200 = 1800 dollars.\n#### 1,800")
    Decimal('1800')
    >>> final_number(r"so \boxed{-3.5}, not 4"), final_number("It is $18. Not more.")
    (Decimal('-3.5'), Decimal('18'))
    >>> final_number("16-3=13"), final_number("none")
    (Decimal('13'), None)
    """
    marked = None
    for mark in MARKS.finditer(text):
        marked = MARKED.match(text, mark.end()) or marked
    if marked:
        return parse_decimal(*marked.groups())
    inside = last_boxed(text)
    if inside is not None:
        found = NUMBER.findall(re.sub(r"\{,\}|\\[,!]", "", inside))
        return parse_decimal(*found[0]) if len(found) == 1 else None
    last = collections.deque(NUMBER.finditer(text), maxlen=1)
    return parse_decimal(*last[0].groups()) if last else None


def last_boxed(text: str) -> str | None:
    r"""What stands in the \boxed{} that closes last, braces in it included.

    >>> last_boxed(r"\boxed{1} so \boxed{\frac{1}{2}} and \boxed{3")
    '\\frac{1}{2}'
    """
    found = None
    opened: list[int | None] = []  # where the insides of \boxed begin; None for others
    for brace in BRACES.finditer(text):
        if brace[0] != "}":
            opened.append(None if brace[0] == "{" else brace.end())
        elif opened and (begin := opened.pop()) is not None:
            found = (begin, brace.start())
    return text[slice(*found)] if found else None


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
    said = (
        strict_final_number(answer) if strict else final_number(extract_answer(answer))
    )
    right = [final_number(reference) for reference in references]
    return float(said is not None and said in right)


def strict_final_number(text: str) -> Decimal | None:
    """The number after a "####", where an answer ends with it."""
    end = len(text.rstrip())
    for mark in MARKS.finditer(text):
        found = ENDING.match(text, mark.end())
        if found and found.end() == end:
            return parse_decimal(*found.groups())
    return None


def extract_answer(text: str) -> str:
    """What stands in the last <answer></answer>; all of it where there is none.

    >>> extract_answer("<think>2 + 2</think><answer>4</answer>"), extract_answer("4")
    ('4', '4')
    """
    found, at = text, 0
    while (begin := text.find("<answer>", at)) >= 0:
        at = text.find("</answer>", begin)
        if at < 0:
            break
        found = text[begin:at].rpartition("<answer>")[2]
    return found


def exact_match(answer: str, references: Iterable[str]) -> float:
    """1 where an answer is a reference, but for case and white space, else 0.

    >>> exact_match(" The  end.", ["a start", "the end."])
    1.0
    """
    said = extract_answer(answer).casefold().split()
    return float(any(said == told.casefold().split() for told in references))


def expanded_length(pattern: str) -> int:
    """The length of a regular expression with its smallest counts written out.

    Patterns are compiled to code of that size.

    >>> expanded_length(r"a{3,9}"), expanded_length(r"((a{10}){10}b{2}){10}"), expanded_length(r"[{5}]\\{5}")
    (3, 1020, 4)
    """
    groups, last = [0], 0  # what is written out of each open group; its last item
    for part in PARTS.finditer(pattern):
        if part[1]:
            groups[-1] += last * (int(part[1]) - 1)
            last *= int(part[1])
        elif part[0] == "(":
            groups.append(0)
        elif part[0] == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        else:
            last = 1
            groups[-1] += last
    return sum(groups)


def matches_pattern(answer: str, pattern: str) -> float:
    """1 where a regular expression is found in an answer, else 0.

    Raises:
      TimeoutError: it takes longer than `PATTERN_TIMEOUT`. It is not 0, since whether it was in
        time would change with the machine.

    >>> matches_pattern("I am sorry, I cannot.", r"\\bsorry\\b")
    1.0
    """
    try:
        return float(regex.search(pattern, answer, timeout=PATTERN_TIMEOUT) is not None)
    except TimeoutError as error:
        raise TimeoutError(
            f"the pattern {shorten(pattern)!r} takes more than {PATTERN_TIMEOUT:g} s on an "
            f"answer of {len(answer)} characters: repeat nothing that repeats, as "
            "(a+)+ does"
        ) from error


def think_answer_format(answer: str) -> float:
    """1 where an answer is <think>...</think><answer>...</answer>, each once, else 0.

    Reference: DeepSeek-AI 2025, arXiv:2501.12948, section 2.2.2 (format rewards).

    >>> think_answer_format("<think>2 + 2</think> <answer>4</answer>")
    1.0
    >>> think_answer_format("<answer>4</answer>")
    0.0
    """
    found = [tag.span() for tag in TAG.finditer(answer)]
    words = [answer[slice(*span)] for span in found]
    if words != [*TAGS]:
        return 0.0
    (begin, _), (_, thought), (concluding, _), (_, end) = found
    around = answer[:begin] + answer[thought:concluding] + answer[end:]
    return float(not around.strip())
