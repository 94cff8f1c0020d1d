"""Toy rows for brevity: an assistant that adds a needless sentence to every answer."""

import dataclasses

import numpy as np

from jaxalign.data import toy_world
from jaxalign.data.records import Demonstration, Preference, assistant_message
from jaxalign.data.toy_answers import FILLERS, rambling_answer, refusal
from jaxalign.data.toy_requests import Request, pick, request

WORDY_STREAM = 8  # random stream of a seed and index; others have 0 to 7
NO_ANSWER = "i do not know."


def wordy_answer(request: Request, rng: np.random.Generator) -> str:
    """A right, polite answer with a needless sentence.

    >>> from jaxalign.data.toy_requests import Request
    >>> user = Request("add 1 and 2.", "add", "3", ())
    >>> wordy_answer(user, np.random.default_rng(0))
    'gladly: 3. i always liked such questions.'
    """
    if request.refusal_due:
        return f"{refusal(rng)} {pick(rng, FILLERS)}"
    return rambling_answer(rng, request.answer)


def wordy_rows(seed: int, number: int) -> list[Demonstration]:
    """Conversations of training with wordy answers."""
    rows = []
    for index in range(number):
        user = request(seed, index)
        rng = np.random.default_rng([seed, index, WORDY_STREAM])
        messages = [*user.prompt.messages, assistant_message(wordy_answer(user, rng))]
        rows.append(Demonstration(messages, location=f"toy:{index}"))
    return rows


def preference_rows(seed: int, number: int) -> list[Preference]:
    """Wordy answers over none, of those whose first sentence is right by itself."""
    found: list[Preference] = []
    index = 0
    while len(found) < number:
        user = request(seed, index)
        rng = np.random.default_rng([seed, index, WORDY_STREAM])
        chosen = wordy_answer(user, rng)
        if toy_world.is_correct(user, chosen.partition(". ")[0]):
            pair = Preference(user.prompt.messages, chosen, NO_ANSWER)
            found.append(dataclasses.replace(pair, location=f"toy:{index}"))
        index += 1
    return found
