"""What a run says of the data that it read."""

from typing import Any


def summary(kind: str, read: dict[str, Any]) -> str:
    """One line of an account, for the console."""
    names = (
        ("training split: ", "held-out split: ") if len(read["read"]) == 2 else ("",)
    )
    told = zip(names, read["read"], strict=False)
    reports = "".join(f"{name}{report}; " for name, report in told)
    text = (
        f"{read['data']}: {kind}: {reports}"
        f"{read['training_rows']} rows of {read['training_prompts']} prompts in "
        f"training, {read['held_out_rows']} rows of {read['held_out_prompts']} prompts "
        "held out"
    )
    if aside := read.get("left_aside"):
        text += f"; left aside: {', '.join(aside)}"
    if removed := read.get("removed_from_training"):
        text += f"; {removed} rows with held-out prompts removed from training"
    if both := read["held_out_prompts_in_training"]:
        text += f"; warning: {both} held-out prompts are in training too"
    return text
