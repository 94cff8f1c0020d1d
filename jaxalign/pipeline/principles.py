"""The principles by which a judge compares answers, as `--principles` names them."""

from pathlib import Path

from jaxalign.rewards import judge_prompts


def read_principles(name: str | None) -> tuple[str, ...]:
    """The principles of a comparison, of which one is drawn at random.

    Args:
      name: "constitution", a text file with one principle a line, or None for one
        general question.

    Raises:
      OSError: no such file.
      ValueError: the file holds none.
    """
    if name is None:
        return (judge_prompts.DEFAULT_PRINCIPLE,)
    if name == "constitution":
        return judge_prompts.CONSTITUTION
    lines = Path(name).read_text(encoding="utf-8").splitlines()
    principles = tuple(line.strip() for line in lines if line.strip())
    if not principles:
        raise ValueError(
            f"--principles {name} holds no principles; expected one a line"
        )
    return principles
