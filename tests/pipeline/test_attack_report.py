"""The tables of a study of attacks: rows, power laws, curves of defences."""

import numpy as np
import pytest

from jaxalign.evaluation.intervals import Interval
from jaxalign.pipeline.attacks import report


def exact(value):
    return Interval(value, value, value)


TRIES = {k: exact(float(np.exp(-2.0 * k**-0.5))) for k in (1, 2, 4, 8, 16)}
SUMMARY = {
    "none": {"success": exact(0.1), "refused": exact(0.9)},
    "many-shot-4": {"success": exact(0.5), "nll": exact(2.0)},
    "many-shot-1": {"success": exact(0.5), "nll": exact(3.0)},
    "many-shot-2": {"success": exact(0.5), "nll": exact(2.5)},
    "best-of-16": {"success": exact(0.2)}
    | {f"success@{k}": x for k, x in TRIES.items()},
    "undefended": {
        "success": exact(0.6), "any_success": exact(0.9), "plain_success": exact(0.1),
        "over_refusal": exact(0.0),
        "success@0.5": exact(0.4), "over_refusal@0.5": exact(0.2),
    },
    "share 0.8": {
        "success": exact(0.3), "any_success": exact(0.5), "plain_success": exact(0.0),
        "over_refusal": exact(0.1),
    },
}  # fmt: skip
DEFENSES = {"none": ["undefended"], "refusals": ["undefended", "share 0.8"]}


def test_a_row_for_each_attack_and_for_those_that_do_not_apply():
    rows = report.attack_rows(SUMMARY, {"none": str, "base64": None, "past": str})
    by_name = {row["attack"]: row["attack success"] for row in rows}
    assert by_name["base64"] == "not applicable" and "past" not in by_name
    assert by_name["none"] == exact(0.1)
    assert by_name["best-of-16"] == TRIES[16]  # not that of a single try


def test_the_law_of_few_tries_predicts_the_most():
    law, text = report.success_law(TRIES)
    # fitted to 1, 2 and 4, on which -log ASR = 2 N^-0.5
    np.testing.assert_allclose(law, (2.0, 0.5), rtol=1e-9)
    # exp(-2 / 4) = 0.607 at N = 16
    assert "N up to 4, predicts 0.607 at N = 16; measured 0.607" in text
    none, text = report.success_law({1: exact(0.0), 2: exact(0.0)})
    assert none is None and text.startswith("No power law: a power law needs two")


def test_the_law_of_shots_leaves_out_none_and_sorts():
    assert list(report.arms_by_number(SUMMARY, report.MANY_SHOT)) == [1, 2, 4]
    shots = {0: exact(99.0), 1: exact(3.0), 2: exact(2.0), 4: exact(1.5)}
    law, text = report.shot_law(shots)
    # 2 k^-1 + 1
    np.testing.assert_allclose(law, (2.0, 1.0, 1.0), atol=1e-6)
    assert "2.000 k^-1.00 + 1.000 nats" in text
    assert report.shot_law({0: exact(1.0)})[0] is None
    law, text = report.shot_law({k: exact(1.0 + k) for k in (1, 2, 4)})
    assert law is None and "do not lower the NLL" in text


def test_a_defence_is_a_pair_of_numbers_and_a_threshold_a_curve_of_its_own():
    points = report.defense_points(SUMMARY, DEFENSES)
    assert points == {
        "none": [("undefended", exact(0.0), exact(0.6))],
        "refusals": [
            ("undefended", exact(0.0), exact(0.6)),
            ("share 0.8", exact(0.1), exact(0.3)),
        ],
        # once, though the arm is in two defences
        "refusal threshold": [("0.5 nats", exact(0.2), exact(0.4))],
    }
    rows = report.defense_rows(SUMMARY, DEFENSES)
    assert rows[-1] == {
        "defence": "refusals", "setting": "share 0.8", "success": exact(0.3),
        "any success": exact(0.5), "no attack": exact(0.0), "over-refusal": exact(0.1),
    }  # fmt: skip


def test_the_sections_have_plots(tmp_path):
    parts = report.sections(SUMMARY, {"none": str}, DEFENSES, tmp_path)
    titles = [part.title for part in parts]
    assert titles[0] == "Attacks" and "Defences" in titles and "GCG" not in titles
    assert all(part.image.exists() for part in parts if part.image)
    laws = parts[-1].text
    assert "Many shots: NLL(k)" in laws and "Best of N: -log ASR(N)" in laws


def test_without_laws_or_defences_there_is_a_page(tmp_path):
    summary = {"none": {"success": exact(0.1)}, "prefill-0": {"success": exact(0.1)}}
    parts = report.sections(summary, {"none": str}, {}, tmp_path)
    assert [part.title for part in parts] == ["Attacks", "Along the numbers"]
    assert report.plot_study(tmp_path / "a.png", {"none": {}}, {}) is None
    with pytest.raises(ValueError):
        report.arms_by_number({"prefill-x": {}}, report.PREFILL)
