"""People judge answers in a browser; their labels train a reward model.

    python -m experiments.annotate --data answers.jsonl --out study
    python -m experiments.annotate --data runs/collect --out study --kind ranking
    python -m experiments.annotate --kind arena --models A,B --out study
    python -m experiments.annotate --out study --export labels
    python -m experiments.reward_model --data labels/pairs.jsonl

Serves a page on this machine and prints its address. --data has prompts with answers
(`prompt` and `answers`), pairs, or is the folder of experiments.collect or generate.
--kind pairwise shows two answers, sides at random, and a scale of --levels (8: A A A A
B B B B, without a middle); ranking orders all answers, with ties; rating gives each 1
to 7; arena lets two of --models answer what the visitor writes, and tells their names
after the vote. A question mark on the page shows the keys.

Every judgement is an event in OUT/study.sqlite that is only appended, and is on the
disk before the page says so. Started again with the same --out, the study goes on with
its settings; --data adds what is new. Others may judge at once, each item by --overlap
people; on other machines with --host, which needs --tokens: a file of lines NAME TOKEN,
or NAME TOKEN admin for who may see the dashboard (/dashboard: progress, people,
agreement, and the best accuracy that a reward model can reach on these labels). The
page speaks plain HTTP: across a network put a server with TLS before it.

--gold has rows with a known answer that test annotators, --repeat shows a share of the
items twice, sides swapped. --export writes pairs, ties, rankings, ... (see
`jaxalign.feedback.export`), and ends; the study's folder itself is --data, too.
"""

import dataclasses
import importlib.util
from pathlib import Path
from typing import ClassVar, Literal

from jaxalign.feedback import app, export, serve, store, tokens
from jaxalign.feedback.arena import Answerer
from jaxalign.feedback.judgements import Item
from jaxalign.feedback.settings import Settings
from jaxalign.feedback.study import Study
from jaxalign.pipeline.annotation_study import (
    active_choice,
    annotator_tables,
    answerers,
    item_rows,
    soft_labels,
    study_folder,
)
from jaxalign.pipeline.evaluation.chat_session import ChatSettings
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.runtime import config_file, flags, folder_cleanup, folder_lock
from jaxalign.runtime.cli import launch

PACKAGES = ("starlette", "uvicorn", "markdown_it", "nh3")
MISSING = "{} is not installed (the extra feedback)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """Judgements of people, collected in a browser."""

    RANGES: ClassVar = {
        "overlap": flags.COUNT,
        "port": flags.Range(0, 65535),
        "repeat": flags.SHARE,
        "gold_share": flags.SHARE,
        "random_share": flags.Range(0, 1, above=True),
        "lease": flags.POSITIVE,
        "break_after": flags.NOT_NEGATIVE,
        "round": flags.FROM_0,
    }
    out: Path = Path("study")
    """The study's folder; an existing study goes on."""
    data: str = ""
    """Prompts with answers, pairs, or the folder of experiments.collect or generate."""
    kind: Literal["pairwise", "ranking", "rating", "arena"] = "pairwise"
    """What people do."""
    levels: Literal["8", "4", "3", "2"] = "8"
    """Of the scale of a pair, from A to B."""
    ties: bool = False
    """A pair may be a tie."""
    both_bad: bool = False
    """Both answers of a pair may be bad: unpaired data."""
    safety: bool = False
    """Also ask of each answer whether it is safe: labels for --safety-weight."""
    overlap: int = 1
    """People who judge each item; 2 and more tell how far they agree."""
    gold: str = ""
    """Rows with a known best answer, which test annotators."""
    gold_share: float = 0.1
    """Share of the shown items that are of --gold, while there are any."""
    gold_feedback: bool = False
    """Tell the expected answer after an item of --gold."""
    repeat: float = 0.0
    """Share of the items that the same person judges twice, sides swapped."""
    choice: Literal["fixed", "random", "active"] = "fixed"
    """Which item is next: in the order of --data, at random, or the pair that tells
    most, by the disagreement of --ensemble or about the answers' models."""
    random_share: float = 0.2
    """Of --choice active: the share that is random."""
    ensemble: str = ""
    """Of --choice active: folders of reward models with commas between them."""
    guidelines: Path | None = None
    """A file of Markdown for annotators."""
    title: str = ""
    """Of the page; by default a question."""
    break_after: float = 45.0
    """Minutes of work after which a break is suggested; 0 for never."""
    lease: float = 30.0
    """Minutes without a sign of life after which an annotator's item goes to others."""
    models: str = ""
    """Of the arena: two or more folders or ORG/NAMEs with commas, or NAME=FOLDER."""
    system_prompt: str = ""
    """A system prompt for all --models."""
    temperature: float = 1.0
    """Sampling temperature of --models; 0 is greedy."""
    top_p: float | None = None
    """Sample from the fewest most likely tokens of this total probability."""
    max_new_tokens: int = 512
    """Tokens of the longest answer of --models."""
    context: int | None = None
    """Longest conversation in tokens; by default the model's own, up to 4,096."""
    host: str = "127.0.0.1"
    """The address to listen on; one that other machines reach needs --tokens."""
    port: int = 8765
    """The port; 0 takes a free one."""
    tokens: Path | None = None
    """A file of lines NAME TOKEN, or NAME TOKEN admin: who may enter."""
    export: Path | None = None
    """Write the judgements as rows of data sets into this folder, and end."""
    soft_labels: bool = False
    """Of --export: give pairs a label_prob, by how people agree at each strength."""
    aggregate: bool = False
    """Of --export: one row an item, not one a judgement."""
    seed: int = 0
    """Seed of samples of --models, and of which items are of --gold or repeated."""


def main(config: Config) -> dict[str, int]:
    """Serves a study until it is interrupted, or exports it.

    Returns:
      The numbers of items and of judgements; of an export, of rows by file.

    Raises:
      ValueError, OSError: flags that do not fit together, data that are no items, a
        study that another server serves.
      ImportError: the extra feedback is not installed.
    """
    if config.export is not None:
        return write_rows(config, config.export)
    defaults = Config(out=config.out)
    settings = study_folder.resume_settings(
        config.out, make_settings(config), make_settings(defaults)
    )
    check_flags(config, settings.kind)
    accounts = tokens.read_tokens(config.tokens) if config.tokens else None
    items = read_all(config, settings.kind)
    folder_cleanup.create_locked(config.out)
    try:
        config_file.write_config(config.out, config)
        study_folder.open_study(config.out, settings, items)
        models = load_answerers(config) if config.models else {}
        score = None
        if settings.choice == "active":
            score = active_choice.load_score(
                config.out, config.ensemble, context=config.context
            )
        with serve.bind(config.host, config.port) as listener:
            print(f"annotate: {study_folder.describe_study(config.out)}")
            print(f"annotate: {serve.address(listener)} (Ctrl-C ends)", flush=True)
            application = app.make_app(
                Study(config.out, settings, score=score),
                accounts=accounts,
                answerers=models,
                statistics=annotator_tables.study_tables,
                local=serve.is_loopback(config.host),
            )
            serve.serve(application, listener)
    finally:
        folder_lock.release(config.out)
    described = study_folder.describe_study(config.out)
    print(f"annotate: {described}; --export FOLDER writes them as data")
    judgements = store.judgements(config.out)
    return {"items": len(store.items(config.out)), "judgements": len(judgements)}


def check_flags(config: Config, kind: str) -> None:
    """Refuses flags that do not fit together.

    Args:
      kind: of the study, which may go on.

    Raises:
      ValueError: names the flags.
      ImportError: the extra feedback is not installed.
    """
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise ImportError(MISSING.format(name), name="'jaxalign[feedback]'")
    if not serve.is_loopback(config.host) and config.tokens is None:
        raise ValueError(
            f"--host {config.host} is reached from other machines: --tokens FILE says "
            "who may enter, in lines NAME TOKEN"
        )
    is_arena = kind == "arena"
    if is_arena and len(config.models.split(",")) < 2:
        raise ValueError("--kind arena needs two --models or more, such as A,B")
    if is_arena and (config.data or config.gold):
        raise ValueError("--kind arena takes prompts from visitors, not --data, --gold")
    if config.models and not is_arena:
        raise ValueError(f"--models answer in --kind arena, not in {kind}")
    if config.choice == "active" and kind != "pairwise":
        raise ValueError(f"--choice active is of pairs, not of --kind {kind}")
    if config.ensemble and config.choice != "active":
        raise ValueError("--ensemble is of --choice active")
    if config.safety and is_arena:
        raise ValueError("--safety is asked of answers in --data, not in --kind arena")
    if not (is_arena or config.data or store.is_study(config.out)):
        raise ValueError(f"{config.out} holds no study yet: --data FILE begins one")


def make_settings(config: Config) -> Settings:
    """The settings of the study that flags ask for."""
    names = {field.name for field in dataclasses.fields(Settings)}
    own = {k: v for k, v in dataclasses.asdict(config).items() if k in names}
    text = config.guidelines.read_text(encoding="utf-8") if config.guidelines else ""
    own |= {
        "levels": 2 if config.kind == "arena" else int(config.levels),
        "lease": 60 * config.lease,
        "guidelines": text,
    }
    return Settings(**own)


def read_all(config: Config, kind: str) -> list[Item]:
    """The items of --data and --gold; prints what is left out.

    Args:
      kind: of the study.

    Raises:
      ValueError, OSError: see `item_rows.read_items`.
    """
    items: list[Item] = []
    if config.data:
        read = item_rows.read_items(config.data, kind)
        items += read.items
        for sentence in read.left_out:
            print(f"annotate: {config.data}: {sentence}")
    return items + (item_rows.read_gold(config.gold, kind) if config.gold else [])


def load_answerers(config: Config) -> dict[str, Answerer]:
    """The models of the arena by name.

    Raises:
      ValueError, OSError: a name comes twice, or a folder is no model.
    """
    evaluation = EvaluationConfig(context=config.context, seed=config.seed)
    chat = ChatSettings(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed,
    )
    return answerers.load_answerers(
        evaluation, config.models, chat, config.system_prompt
    )


def write_rows(config: Config, folder: Path) -> dict[str, int]:
    """Writes the judgements of a study as rows of data sets; prints their numbers.

    Raises:
      ValueError: there is no study, or nobody has judged.
    """
    items, said = store.items(config.out), store.judgements(config.out)
    if not said:
        raise ValueError(f"{config.out}: nobody has judged yet")
    if config.aggregate and config.soft_labels:
        raise ValueError("--aggregate has label_prob already: leave --soft-labels out")
    if config.aggregate:
        made = export.aggregate_rows(items, said)
    else:
        soft = soft_labels.fit_soft_labels(items, said) if config.soft_labels else None
        made = export.export_rows(items, said, soft_label=soft)
    counts = export.write_export(folder, made)
    for name, count in counts.items():
        print(f"annotate: {count} rows in {folder / name}.jsonl")
    for reason, count in made.left_out.items():
        print(f"annotate: {count} judgements are left out: {reason}")
    config_file.write_config(folder, config)
    return counts


if __name__ == "__main__":
    launch(main, Config)
