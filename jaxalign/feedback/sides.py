"""The order in which answers are shown: random, and balanced."""

import collections
import random


class Sides:
    """Orders of answers so far, and the next ones.

    Of two answers the one that was shown left less often is shown left: over the
    annotators of the item, and where that is even over the items of the annotator;
    where both are even it is drawn. More answers are in a random order.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        # item or annotator -> times in order less times swapped
        self.by_item: collections.Counter[str] = collections.Counter()
        self.by_annotator: collections.Counter[str] = collections.Counter()

    def record(self, annotator: str, item: str, order: tuple[int, ...]) -> None:
        """Counts an order that is shown."""
        if len(order) == 2:
            sign = 1 if order == (0, 1) else -1
            self.by_item[item] += sign
            self.by_annotator[annotator] += sign

    def choose(self, annotator: str, item: str, count: int) -> tuple[int, ...]:
        """The order of an item's answers: the index of the answer in each place."""
        if count != 2:
            return tuple(self.rng.sample(range(count), count))
        lead = self.by_item[item] or self.by_annotator[annotator]
        swapped = lead > 0 if lead else self.rng.random() < 0.5
        return (1, 0) if swapped else (0, 1)
