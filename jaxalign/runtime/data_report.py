"""One-line reports of the rows that a run has read."""

from typing import Any


def summary(kind: str, account: dict[str, Any]) -> str:
    """The report of one kind of record: rows and prompts of each split, rows left out.

    Args:
      kind: such as "preferences".
      account: the entry of data.json's `splits`.
    """
    names = ["training split: ", "held-out split: "]
    if len(account["read"]) != 2:
        names = [""]
    reports = "".join(
        f"{name}{report}; "
        for name, report in zip(names, account["read"], strict=False)
    )
    text = (
        f"{account['data']}: {kind}: {reports}"
        f"{account['training_rows']} rows of {account['training_prompts']} prompts in "
        f"training, {account['held_out_rows']} rows of {account['held_out_prompts']} "
        "prompts held out"
    )
    if unused := account.get("left_aside"):
        text += f"; left aside: {', '.join(unused)}"
    if removed := account.get("removed_from_training"):
        text += f"; {removed} rows with held-out prompts removed from training"
    if both := account["held_out_prompts_in_training"]:
        text += f"; warning: {both} held-out prompts are in training too"
    return text
