"""`experiments.win_rate` and `experiments.arena` on real files: what they write."""

import json

import numpy as np
import pytest

from experiments import arena, win_rate


def read_json(path):
    return json.loads(path.read_text())


def test_win_rates_of_alpaca_evals_files(public_data, tmp_path):
    folder = public_data / "alpaca-eval-lc"
    if not folder.is_dir():
        pytest.skip(f"no alpaca-eval-lc in {public_data}")
    names = ("claude-2.1", "vicuna-13b")
    config = win_rate.Config(
        judgements=tuple(folder / "annotations" / f"{name}.csv" for name in names),
        difficulty=folder / "instruction_difficulty.csv",
        out=tmp_path / "out",
        resamples=20,
    )
    numbers = win_rate.main(config)
    assert numbers["best"] == "claude-2.1"
    found = read_json(tmp_path / "out" / "win_rates.json")
    expected = read_json(folder / "expected.json")
    for name in names:
        wanted = expected[name]["noreg"]["lc"]
        # the solvers' difference, studied on 12 models
        assert found[name]["length_controlled"] == pytest.approx(wanted, abs=0.12)
        assert found[name]["win_rate"] == pytest.approx(expected[name]["win_rate"])
        assert found[name]["se"] == pytest.approx(expected[name]["se"])
        assert found[name]["n"] == 805 and found[name]["form"] == "noreg"
        interval = found[name]["interval"]
        assert interval["low"] < interval["mean"] < interval["high"]
    heads = read_json(tmp_path / "out" / "head_to_head.json")
    assert heads["models"] == [*names, "baseline"]
    matrix = np.array(heads["win_rate"])
    np.testing.assert_allclose(matrix + matrix.T, 100.0)
    # against the baseline it is the length-controlled win rate
    rates = [found[name]["length_controlled"] for name in names]
    np.testing.assert_allclose(matrix[:2, 2], rates, atol=1e-9)
    for name in ("win_rates.png", "head_to_head.png", "report.md", "report.html"):
        assert (tmp_path / "out" / name).stat().st_size > 1000


def judgements(path, count=40):
    """A judge that prefers the longer answer, of a brief and a verbose model."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(count):
        a, b = "x" * rng.integers(5, 60), "x" * rng.integers(20, 90)
        p = (len(a) > len(b)) + 0.5 * (len(a) == len(b))
        rows.append(
            {
                **{"prompt_id": f"{n}", "prompt": f"q{n}", "probability": p},
                **{"model_a": "brief", "model_b": "verbose", "category": None},
                "winner": {1.0: "model_a", 0.0: "model_b"}.get(p, "tie"),
                **{"answer_a": a, "answer_b": b, "judge": "length"},
                **{"length_a": len(a), "length_b": len(b)},
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_win_rates_of_our_judgements_are_of_the_minimal_form(tmp_path, capsys):
    path = judgements(tmp_path / "judgements.jsonl")
    out = tmp_path / "out"
    win_rate.main(win_rate.Config(judgements=(path,), out=out, resamples=50))
    (found,) = read_json(out / "win_rates.json").values()
    assert found["form"] == "minimal" and found["separated"]
    assert found["win_rate"] > 70  # of the verbose model
    assert found["interval"]["low"] <= 50 <= found["interval"]["high"]
    notes = " ".join(read_json(out / "notes.json"))
    assert "without --difficulty" in notes and "40 comparisons" in notes
    assert "`minimal` form" in capsys.readouterr().out


def test_lengths_are_not_needed_without_length_control(tmp_path):
    path = tmp_path / "battles.csv"
    path.write_text("left,right,winner\nx,y,left\nx,y,tie\nz,x,left\n")
    config = win_rate.Config(judgements=(path,), out=tmp_path / "a", resamples=10)
    with pytest.raises(
        ValueError, match="y: .*battles.csv:2: the lengths of the answer"
    ):
        win_rate.main(config)
    config = win_rate.Config(
        judgements=(path,), out=tmp_path / "b", length_control=False
    )
    win_rate.main(config)
    found = read_json(tmp_path / "b" / "win_rates.json")
    # y lost once and drew once against x; z won
    assert {name: each["win_rate"] for name, each in found.items()} == {
        "z": 100,
        "y": 25,
    }
    with pytest.raises(ValueError, match="--difficulty is of the length control"):
        win_rate.main(
            win_rate.Config(judgements=(path,), difficulty=path, length_control=False)
        )


def test_ratings_of_llmfao(public_data, tmp_path):
    path = public_data / "llmfao-battles" / "llmfao.csv"
    if not path.is_file():
        pytest.skip(f"no llmfao-battles in {public_data}")
    out = tmp_path / "out"
    config = arena.Config(battles=(path,), out=out, resamples=50, shuffles=20)
    numbers = arena.main(config)
    found = read_json(out / "ratings.json")
    assert numbers["rating"].startswith("1172.1326 [") and "±" not in numbers["rating"]
    assert f"{numbers['se']:.4f}" == "27.8580"
    assert "Bradley-Terry" in numbers["estimator"]
    assert "124 clusters by 'worker'" in numbers["estimator"]
    assert list(found)[:3] == ["GPT 4", "Platypus-2 Instruct (70B)", "command"]
    assert len(found) == 59
    wanted = {"rating", "se", "low", "high", "rank", "elo_mean", "elo_sd", "battles"}
    for entry in found.values():
        assert wanted <= set(entry) and entry["low"] < entry["rating"] < entry["high"]
    elo = np.array([entry["elo_mean"] for entry in found.values()])
    # the range of K = 4 that studies report, 885 to 1096, to their spread
    np.testing.assert_allclose([elo.min(), elo.max()], [885, 1096], atol=3)
    assert np.mean([entry["elo_sd"] for entry in found.values()]) == pytest.approx(
        4.6, abs=0.6
    )
    assert (out / "ratings.png").stat().st_size > 10_000
    assert "| 1 | GPT 4 | 1172.1326 | 27.8580 |" in (out / "report.md").read_text()


def test_style_control_removes_what_a_judge_of_length_adds(tmp_path):
    path = judgements(tmp_path / "judgements.jsonl", count=200)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rng = np.random.default_rng(1)
    for row in rows:  # a judge whose log-odds are 3 (a - b) / (a + b)
        a, b = row["length_a"], row["length_b"]
        odds = np.exp(3 * (a - b) / (a + b))
        row["winner"] = "model_a" if rng.random() < odds / (1 + odds) else "model_b"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ratings = {}
    for control in (False, True):
        out = tmp_path / f"{control}"
        arena.main(
            arena.Config(
                battles=(path,),
                out=out,
                style_control=control,
                resamples=30,
                shuffles=2,
            )
        )
        ratings[control] = read_json(out / "ratings.json")
    assert ratings[False]["verbose"]["rating"] > 1050
    controlled = ratings[True]["verbose"]
    assert controlled["low"] <= 1000 <= controlled["high"]
    assert "| length |" in (tmp_path / "True" / "report.md").read_text()


def test_half_wins_are_said(tmp_path, capsys):
    path = tmp_path / "battles.jsonl"
    rows = [{"model_a": "x", "model_b": "y", "winner": "model_a"}] * 3
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = arena.Config(
        battles=(path,), out=tmp_path / "out", anchor="y=1200", resamples=5, shuffles=2
    )
    arena.main(config)
    assert "half a win each way is added" in capsys.readouterr().out
    found = read_json(tmp_path / "out" / "ratings.json")
    # 3.5 wins to 0.5: 400 log10(7) above the anchor
    assert found["x"]["rating"] == pytest.approx(1200 + 400 * np.log10(7))


@pytest.mark.parametrize("anchor", ["x", "=3", "x=high", "x=inf"])
def test_a_bad_anchor_is_refused(anchor):
    with pytest.raises(ValueError, match="expected MODEL=RATING, such as base=1000"):
        arena.parse_anchor(anchor)
