"""A suite on two models: one page with the numbers of each, and nothing made twice."""

import json

import pytest

from experiments import evaluate
from jaxalign.data import toy_world
from jaxalign.evaluation import page
from tests.support import untrained

SUITE = """\
generate:   {data: PROMPTS, samples: 2, max_new_tokens: 8}
compare:    {reward: "length:4"}
perplexity: {data: TEXTS}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    prompts = [toy_world.demonstration(0, i).messages[:1] for i in range(3)]
    lines = [json.dumps({"prompt": messages}) + "\n" for messages in prompts]
    (folder / "prompts.jsonl").write_text("".join(lines))
    (folder / "texts.txt").write_text("one short text\n")
    suite = SUITE.replace("PROMPTS", str(folder / "prompts.jsonl"))
    suite = suite.replace("TEXTS", str(folder / "texts.txt"))
    (folder / "suite.yaml").write_text(suite)
    model = untrained.save(folder / "model")
    return evaluate.Config(
        models=(f"one={model}", f"other={model}"),
        suite=folder / "suite.yaml",
        out=folder / "out",
    )


def test_one_page_has_the_numbers_of_each_model(config):
    numbers = evaluate.main(config)
    one, other = numbers["by_model"]["one"], numbers["by_model"]["other"]
    assert numbers["measurements"] == 4  # perplexity is of each model by itself
    assert one["generate: answers"] == other["generate: answers"] == 6
    # the same model with the same random numbers ties everywhere
    assert other["compare: win_rate"].mean == 0.5 and "compare: win_rate" not in one
    assert one["perplexity: nll"].mean == other["perplexity: nll"].mean > 0
    titles = [section.title for section in page.read(config.out).sections]
    assert titles[0] == "All models" and titles[-1] == "Commands"
    for name in ("Diversity", "generate: ", "compare: ", "perplexity of other: "):
        assert any(title.startswith(name) for title in titles), name


@pytest.mark.parametrize(
    "models, message",
    [
        ((), "--models names no model"),
        (("a=x", "a=y"), "2 models are called a; give them names"),
    ],
)
def test_models_that_cannot_be_told_apart_are_refused(config, models, message):
    other = evaluate.Config(models=models, suite=config.suite, out=config.out / "x")
    with pytest.raises(ValueError, match=message):
        evaluate.main(other)
    assert not (config.out / "x").exists()
