"""Lines for the console: held-out metrics by the fields of --split-by."""

import re
from collections.abc import Mapping

GROUP = re.compile(r"eval/(\w+)/([^=/]+)=(.*)")  # metric, field, value
SHOWN = 8  # groups on a line


def split_lines(metrics: Mapping[str, float]) -> list[str]:
    """The first metric of each field's groups, and the numbers of their rows.

    Args:
      metrics: of an evaluation, by name.

    Returns:
      A line for each field.

    >>> split_lines({"eval/loss/kind=sum": 0.5, "eval/rows/kind=sum": 7})
    ['by kind: loss sum 0.5 (n 7)']
    """
    first: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    for name, value in metrics.items():
        match = GROUP.fullmatch(name)
        if match is None or match[1] == "rows":
            continue
        metric, field, group = match.groups()
        count = metrics.get(f"eval/rows/{field}={group}")
        if count is not None and first.setdefault(field, metric) == metric:
            text = f"{group} {value:.4g} (n {count})"
            groups.setdefault(field, []).append(text)
    return [
        f"by {field}: {first[field]} {', '.join(texts[:SHOWN])}"
        + f" and {len(texts) - SHOWN} more" * (len(texts) > SHOWN)
        for field, texts in groups.items()
    ]
