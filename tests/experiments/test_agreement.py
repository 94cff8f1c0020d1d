"""experiments.agreement: its numbers on real annotations, its page, its refusals."""

import json

import pytest

from experiments import agreement
from jaxalign.runtime.report_run import json_value

ITEMS = "item,annotator,label\n" + "".join(
    f"{i},{name},{label}\n"
    for i in range(12)
    for name, label in zip(
        "xyz", ("left", "left", "right tie"[6 * (i % 2) :][:5]), strict=True
    )
)


def run(folder, text, **options):
    path = folder / "votes.csv"
    path.write_text(text)
    config = agreement.Config(annotations=str(path), out=folder / "out", **options)
    return agreement.main(config), json.loads(
        (folder / "out/agreement.json").read_text()
    )


@pytest.fixture
def few_resamples(monkeypatch):
    """Intervals of few resamples: numbers are the same, in less time."""
    monkeypatch.setattr("jaxalign.evaluation.agreement.label_ceiling.FIT_RESAMPLES", 10)
    monkeypatch.setattr("jaxalign.evaluation.agreement.rater_pairs.TAU_RESAMPLES", 10)
    monkeypatch.setattr("jaxalign.evaluation.agreement.rankings.W_RESAMPLES", 10)


def test_pandalm_as_published(public_data, tmp_path, few_resamples):
    path = public_data / "pandalm-annotators" / "testset-v1.json"
    config = agreement.Config(annotations=str(path), out=tmp_path / "out")
    numbers = agreement.main(config)
    found = json.loads((tmp_path / "out/agreement.json").read_text())
    # published: 0.85, 0.88, 0.86; the third digit and Fleiss of the specification
    kappas = [round(row["Cohen's kappa"]["mean"], 3) for row in found["pairs"]]
    assert kappas == [0.852, 0.879, 0.862]
    assert round(found["coefficients"]["Fleiss' kappa"]["mean"], 4) == 0.8642
    assert round(numbers["alpha_nominal"].mean, 4) == 0.8642
    agreements = [round(row["agreement"]["mean"], 4) for row in found["pairs"]]
    assert agreements == [0.9129, 0.9289, 0.9179]
    best = {row["of"]: row for row in found["best_accuracy"]}
    ties, none = best["all labels, ties too"], best["without ties (a reward model)"]
    # 879 of 999 unanimous: they are right for all others; the mean agreement of pairs
    assert ties["leave one out"]["mean"] < ties["estimate"]["mean"]
    assert ties["estimate"]["mean"] < ties["upper bound"]["mean"]
    assert numbers["best_accuracy"].mean == pytest.approx(none["estimate"]["mean"])


def test_ratings_have_weighted_kappas_and_w(public_data, tmp_path, few_resamples):
    path = public_data / "harm-ratings" / "violence_multi_score.csv"
    config = agreement.Config(annotations=str(path), out=tmp_path / "out")
    numbers = agreement.main(config)
    assert round(numbers["alpha_ordinal"].mean, 3) == 0.766
    found = json.loads((tmp_path / "out/agreement.json").read_text())
    row = found["pairs"][0]
    # of a scale an error by one step weighs less
    assert row["Cohen's kappa"]["mean"] < row["linear kappa"]["mean"]
    assert row["linear kappa"]["mean"] < row["quadratic kappa"]["mean"]
    assert 0.5 < row["tau-b"]["mean"] < found["rankings"]["Kendall's W"]["mean"] < 1
    # the third annotator's ratings are the lowest of the file
    bias = {row["annotator"]: row["bias"]["mean"] for row in found["each_annotator"]}
    assert min(bias, key=bias.get) == "human_score_3"
    assert numbers["best_accuracy_at_least"].mean > 0.9


def test_the_page_and_the_reasons(tmp_path, few_resamples, capsys):
    numbers, found = run(tmp_path, ITEMS + "99,x,left\n")
    assert found["annotators"] == 3 and found["annotations"] == 37
    assert found["labels"] == {"left": 25, "tie": 6, "right": 6}
    assert found["labels_per_item"] == {"1": 1, "3": 12}
    assert "1 to 3 labels" in found["not_reported"]["Fleiss' kappa"]
    # x and y always agree, z never: by hand 1/3 of pairs
    assert numbers["agreement"].mean == pytest.approx(1 / 3)
    page = (tmp_path / "out/report.html").read_text()
    assert "37 labels of 13 items by 3 annotators" in page
    assert "data:image/png" in page and "Fleiss' kappa is not reported" in (
        capsys.readouterr().out
    )
    saved = json.loads((tmp_path / "out/numbers.json").read_text())
    assert saved == json_value(numbers)


def test_lists_of_votes_have_no_annotators(tmp_path, few_resamples):
    path = tmp_path / "votes.jsonl"
    rows = [{"prompt": "p", "votes": {"a": 3, "b": i % 3}} for i in range(9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    agreement.main(agreement.Config(annotations=str(path), out=tmp_path / "out"))
    found = json.loads((tmp_path / "out/agreement.json").read_text())
    assert found["annotators"] is None and found["pairs"] == []
    # 9 with 3, 4 and 5 votes: agreement 1, 1/2, 2/5
    mean = found["coefficients"]["observed agreement"]["mean"]
    assert mean == pytest.approx((1 + 1 / 2 + 2 / 5) / 3)


def test_nothing_is_written_where_the_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one annotator only"):
        run(tmp_path, ITEMS.replace("y,", "x,").replace("z,", "x,"))
    assert not (tmp_path / "out").exists()
