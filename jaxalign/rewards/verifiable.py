"""Verifiable rewards of one answer: final number, exact match, pattern, format.

Each returns 1.0 or 0.0. All but `matches_pattern` take time linear in the text.
"""

import collections
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

import regex

from jaxalign.messages import shorten

# Seconds of the processor that a user's pattern may take on one answer.
PATTERN_TIMEOUT = 5.0
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

# 1,800 and 1800, 18.5, .5 and 1e-5; a sign counts where it does not stand between
# numbers
DIGITS = (
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:[eE][-+]?[0-9]+(?!\w))?"
)
SIGN = r"[-+\u2212]"
NUMBER = re.compile(rf"(?:(?<![\w.)])({SIGN}))?\$?(?<![0-9])({DIGITS})")
# the text after "####" and white space: no character of both is read twice
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
    """Exact number from its sign and digits; None where the exponent is too large."""
    minus = "-" if sign in ("-", "\u2212") else ""
    try:
        return Decimal(minus + digits.replace(",", ""))
    except InvalidOperation:
        return None


def final_number(text: str) -> Decimal | None:
    r"""Final number of an answer, as GSM8K's verifiers extract it.

    The last number after "####"; else the one in the last \boxed{}; else the last one.
    Takes time linear in the text.

    Returns:
      The number, or None where there is none.

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
        numbers = NUMBER.findall(re.sub(r"\{,\}|\\[,!]", "", inside))
        return parse_decimal(*numbers[0]) if len(numbers) == 1 else None
    last = collections.deque(NUMBER.finditer(text), maxlen=1)
    return parse_decimal(*last[0].groups()) if last else None


def last_boxed(text: str) -> str | None:
    r"""Content of the \boxed{} that closes last, inner braces included.

    >>> last_boxed(r"\boxed{1} so \boxed{\frac{1}{2}} and \boxed{3")
    '\\frac{1}{2}'
    """
    inside = None
    opened: list[int | None] = []  # where the content of \boxed begins; None for others
    for brace in BRACES.finditer(text):
        if brace[0] != "}":
            opened.append(None if brace[0] == "{" else brace.end())
        elif opened and (begin := opened.pop()) is not None:
            inside = (begin, brace.start())
    return text[slice(*inside)] if inside else None


def gsm8k(answer: str, references: Iterable[str], *, strict: bool = False) -> float:
    """1 where an answer's final number equals a reference's, else 0.

    Args:
      answer: text of the answer; the content of its last <answer></answer>, if any.
      references: reference answers, ending with their numbers.
      strict: the answer must end with "#### " and the number, as GSM8K's own do.

    Reference: Cobbe et al. 2021, arXiv:2110.14168; verl's `gsm8k` reward, which has
    both forms.

    >>> gsm8k("She makes $18.00.", ["9 * 2 = 18\\n#### 18"])
    1.0
    >>> gsm8k("She makes $18.00.", ["9 * 2 = 18\\n#### 18"], strict=True)
    0.0
    """
    number = (
        strict_final_number(answer) if strict else final_number(extract_answer(answer))
    )
    expected = [final_number(reference) for reference in references]
    return float(number is not None and number in expected)


def strict_final_number(text: str) -> Decimal | None:
    """Number after a "####", where the answer ends with it; else None."""
    end = len(text.rstrip())
    for mark in MARKS.finditer(text):
        number = ENDING.match(text, mark.end())
        if number and number.end() == end:
            return parse_decimal(*number.groups())
    return None


def extract_answer(text: str) -> str:
    """Content of the last <answer></answer>; the whole text where there is none.

    >>> extract_answer("<think>2 + 2</think><answer>4</answer>"), extract_answer("4")
    ('4', '4')
    """
    content, at = text, 0
    while (begin := text.find("<answer>", at)) >= 0:
        at = text.find("</answer>", begin)
        if at < 0:
            break
        content = text[begin:at].rpartition("<answer>")[2]
    return content


def exact_match(answer: str, references: Iterable[str]) -> float:
    """1 where an answer equals a reference up to case and white space, else 0.

    >>> exact_match(" The  end.", ["a start", "the end."])
    1.0
    """
    words = extract_answer(answer).casefold().split()
    return float(any(words == other.casefold().split() for other in references))


def expanded_length(pattern: str) -> int:
    """Length of a regular expression with its minimal repetitions written out.

    Patterns are compiled to code of that size.

    >>> expanded_length(r"a{3,9}"), expanded_length(r"((a{10}){10}b{2}){10}")
    (3, 1020)
    >>> expanded_length(r"[{5}]\\{5}")
    4
    """
    groups, last = [0], 0  # expanded length of each open group; of its last item
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
      TimeoutError: the search takes longer than `PATTERN_TIMEOUT` seconds. The reward
        is not 0 then, since it would depend on the speed of the machine.

    >>> matches_pattern("I am sorry, I cannot.", r"\\bsorry\\b")
    1.0
    """
    try:
        return float(regex.search(pattern, answer, timeout=PATTERN_TIMEOUT) is not None)
    except TimeoutError as error:
        raise TimeoutError(
            f"the pattern {shorten(pattern)!r} takes more than {PATTERN_TIMEOUT:g} s "
            f"on an answer of {len(answer)} characters; avoid nested repetitions such "
            "as (a+)+"
        ) from error


def think_answer_format(answer: str) -> float:
    """1 for the format <think>...</think><answer>...</answer>, each tag once, else 0.

    Reference: DeepSeek-AI 2025, arXiv:2501.12948, section 2.2.2 (format rewards).

    >>> think_answer_format("<think>2 + 2</think> <answer>4</answer>")
    1.0
    >>> think_answer_format("<answer>4</answer>")
    0.0
    """
    spans = [tag.span() for tag in TAG.finditer(answer)]
    if [answer[slice(*span)] for span in spans] != [*TAGS]:
        return 0.0
    (begin, _), (_, think_end), (answer_begin, _), (_, end) = spans
    around = answer[:begin] + answer[think_end:answer_begin] + answer[end:]
    return float(not around.strip())
