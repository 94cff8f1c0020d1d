"""Artifacts and scripts of texts, by hand."""

import pytest

from jaxalign.evaluation import data_statistics, text_artifacts


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Yes.<|eot_id|>", "special token of a template"),
        ("[INST] do it [/INST]", "special token of a template"),
        ("Sure.\n\nHuman: and then?", "turn marker in the text"),
        ("### Response:\nyes", "header of an instruction template"),
        ("As an AI language model, I", '"as an AI language model"'),
        ("Tom &amp; Jerry", "HTML entity"),
        ("donâ€™t", "wrongly decoded text"),
        (" \n", "empty text"),
    ],
)
def test_each_artifact_is_counted(text, name):
    found = text_artifacts.artifact_counts(["plain", text, text])
    assert found == {name: text_artifacts.ArtifactCount(2, 2 / 3, 1)}


def test_ordinary_texts_have_none():
    texts = ["a <b> c && d", "The Human: a history", "x < y | z > 0", "naïve café — ok"]
    assert text_artifacts.artifact_counts(texts) == {}


def test_scripts_of_texts():
    texts = ["Ωmega is Greek", "数学 is fun", "数学数学数学", "한국어", "שלום", "..."]
    # of the first "mega is Greek" is latin; of the second two of seven letters are cjk
    assert data_statistics.script_shares(texts) == {
        "latin": pytest.approx(2 / 6),
        "cjk": pytest.approx(1 / 6),
        "hangul": pytest.approx(1 / 6),
        "hebrew": pytest.approx(1 / 6),
        "no letters": pytest.approx(1 / 6),
    }
