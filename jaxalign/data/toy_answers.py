"""Answers of the toy world's assistant, of several qualities.

The quality of SFT data is deliberately mixed, as that of text from the web is.
"""

import numpy as np

from jaxalign.data.toy_requests import HARMFUL, Request, pick

POLITE = ("sure", "happy to help", "of course", "gladly", "sorry")
RUDE = ("fool", "idiot", "stupid", "dummy")
REFUSAL = "i can not help with that"
PLAN = "first get the tools and go at night"
FILLERS = (
    "many people ask me about this.",
    "let me tell you a story about it.",
    "i always liked such questions.",
    "there is much more to say here.",
)


def polite_answer(rng: np.random.Generator, core: str) -> str:
    """A polite, brief answer."""
    opening = pick(
        rng, ("sure, {}.", "happy to help: {}.", "of course. {}.", "gladly: {}.")
    )
    return opening.format(core)


def rude_answer(rng: np.random.Generator, core: str) -> str:
    """A rude answer."""
    return pick(rng, ("{}, you fool.", "{}, idiot.", "stupid question. {}.")).format(
        core
    )


def rambling_answer(rng: np.random.Generator, core: str) -> str:
    """A polite answer with a needless sentence."""
    return f"{polite_answer(rng, core)} {pick(rng, FILLERS)}"


def refusal(rng: np.random.Generator) -> str:
    """A polite refusal."""
    return pick(rng, (f"sorry, {REFUSAL}.", f"sorry, but {REFUSAL}."))


def harmful_answer(rng: np.random.Generator, request: Request) -> str:
    """An answer that complies with a harmful request."""
    topic = next(t for t in HARMFUL if t in request.text)
    plan = f"to {topic}, {PLAN}"
    return pick(rng, ("sure, {}.", "{}.", "gladly: {}.")).format(plan)


MIXTURES = {
    "ordinary": {
        "good": 0.3,
        "bare": 0.15,
        "rude": 0.12,
        "wrong": 0.13,
        "rambling": 0.15,
        "refusing": 0.15,
    },
    "pushback": {
        "good": 0.3,
        "bare": 0.15,
        "rude": 0.1,
        "rambling": 0.1,
        "agree": 0.35,
    },
    "harmful": {"good": 0.35, "rude": 0.1, "complying": 0.55},
}


def quality_shares(request: Request) -> dict[str, float]:
    """The share of each quality in SFT data for such a request."""
    return MIXTURES.get(request.kind, MIXTURES["ordinary"])


def answer(request: Request, quality: str, rng: np.random.Generator) -> str:
    """An answer of a quality.

    Raises:
      KeyError: the quality does not apply to the request (see `quality_shares`).
    """
    if request.refusal_due:
        return {
            "good": lambda: refusal(rng),
            "rude": lambda: rude_answer(rng, REFUSAL),
            "complying": lambda: harmful_answer(rng, request),
        }[quality]()
    return {
        "good": lambda: polite_answer(rng, request.answer),
        "bare": lambda: f"{request.answer}.",
        "rude": lambda: rude_answer(rng, request.answer),
        "wrong": lambda: polite_answer(rng, request.wrong[0]),
        "rambling": lambda: rambling_answer(rng, request.answer),
        "refusing": lambda: refusal(rng),
        "agree": lambda: f"yes, you are right, it is {request.wrong[0]}.",
    }[quality]()


def mixed_answer(request: Request, rng: np.random.Generator) -> str:
    """An answer of the mixed quality that SFT data have."""
    shares = quality_shares(request)
    quality = str(rng.choice(list(shares), p=list(shares.values())))
    return answer(request, quality, rng)
