"""Random augmentations of a request: best-of-N jailbreaking.

Reference: Hughes et al. 2024, arXiv:2412.03556, section 2 and appendix.
"""

import re

import numpy as np

LONG_WORD = 4  # letters, from which the inner ones are scrambled
PRINTABLE = range(32, 127)


def augment(text: str, rng: np.random.Generator, *, sigma: float = 0.4) -> str:
    """The text with scrambled words, letters of another case, and shifted characters.

    1. The inner letters of each word of 4 or more are scrambled with probability
       sqrt(sigma).
    2. The case of each letter is flipped with probability sqrt(sigma).
    3. Each printable ASCII character moves by one code point, up or down, with
       probability sigma^3, where it stays printable.

    Args:
      sigma: strength, in [0, 1]; 0 changes nothing.

    Raises:
      ValueError: sigma is out of range.

    >>> augment("how are you today?", np.random.default_rng(0), sigma=0.0)
    'how are you today?'
    """
    if not 0 <= sigma <= 1:
        raise ValueError(f"sigma should be from 0 to 1, not {sigma}")
    return shift(flip_case(scramble(text, rng, sigma), rng, sigma), rng, sigma)


def scramble(text: str, rng: np.random.Generator, sigma: float) -> str:
    """Step 1 of `augment`: words with their inner letters in another order."""

    def scrambled(match: re.Match[str]) -> str:
        word = match.group()
        if len(word) < LONG_WORD or rng.random() >= sigma**0.5:
            return word
        inner = list(word[1:-1])
        rng.shuffle(inner)
        return word[0] + "".join(inner) + word[-1]

    return re.sub(r"\w+", scrambled, text)


def flip_case(text: str, rng: np.random.Generator, sigma: float) -> str:
    """Step 2 of `augment`: letters of the other case."""
    flips = rng.random(len(text)) < sigma**0.5
    return "".join(
        c.swapcase() if flip and c.isascii() else c
        for c, flip in zip(text, flips, strict=True)
    )


def shift(text: str, rng: np.random.Generator, sigma: float) -> str:
    """Step 3 of `augment`: characters that move by one code point."""
    moves = rng.random(len(text)) < sigma**3
    ways = rng.choice([-1, 1], len(text))

    def moved(c: str, way: int) -> str:
        new = ord(c) + way
        return chr(new) if ord(c) in PRINTABLE and new in PRINTABLE else c

    return "".join(
        moved(c, int(way)) if move else c
        for c, move, way in zip(text, moves, ways, strict=True)
    )
