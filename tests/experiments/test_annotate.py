"""experiments.annotate: a study from data to rows, and what is refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra feedback is not installed")
pytest.importorskip("uvicorn", reason="the extra feedback is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from starlette.testclient import TestClient

from experiments import annotate
from jaxalign.data import readers
from jaxalign.data.records import Preference, Ranking
from jaxalign.feedback import store
from tests.support.spelling_model import spelling_policy

ROOT = Path(__file__).parents[2]


def rows(path, count=4, answers=2):
    lines = [
        {"prompt": f"question {n}", "answers": [f"q{n} a{k}" for k in range(answers)]}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture
def judge(monkeypatch):
    """Lets people judge all that a program serves: value(item's html) -> value."""

    def install(value, names=("ann",), visit=None):
        def serve(app, listener):
            with TestClient(app, base_url="http://localhost") as client:
                for name in names:
                    client.cookies.clear()
                    client.post("/login", data={"name": name})
                    state = client.get("/state").json()
                    while state["cards"]:
                        card = state["cards"][0]
                        body = {"ticket": card["ticket"], "seconds": 1}
                        body["value"] = value(card["html"])
                        state = client.post("/answer", json=body).json()
                    if visit is not None:
                        visit(client)

        monkeypatch.setattr(annotate.serve, "serve", serve)

    return install


def first_is_far_better(html):
    """A0 is far better, wherever it is shown."""
    return 1 if html.index(" a0") < html.index(" a1") else 8


def test_a_study_becomes_pairs_that_are_read(tmp_path, judge, capsys):
    judge(first_is_far_better, ["ann", "bob"])
    config = annotate.Config(
        data=rows(tmp_path / "a.jsonl"), out=tmp_path / "study", port=0, overlap=2
    )
    assert annotate.main(config) == {"items": 4, "judgements": 8}
    assert "4 items, 8 judgements of 2 people" in capsys.readouterr().out
    labels = tmp_path / "labels"
    export = annotate.Config(out=tmp_path / "study", export=labels)
    assert annotate.main(export) == {"pairs": 8}
    pairs, report = readers.read(labels / "pairs.jsonl", Preference)
    assert report.usable == 8
    for pair in pairs:
        assert pair.chosen.endswith("a0") and pair.rejected.endswith("a1")
        assert pair.margin == 1.0 and pair.fields["annotator"] in ("ann", "bob")
    import dataclasses

    counts = annotate.main(dataclasses.replace(export, aggregate=True))
    assert counts == {"pairs": 4}
    pairs, _ = readers.read(labels / "pairs.jsonl", Preference)
    assert all(pair.label_prob == 1.0 for pair in pairs)


def test_a_study_goes_on_with_its_settings(tmp_path, judge):
    out, data = tmp_path / "study", tmp_path / "a.jsonl"
    judge(lambda html: [1, 2, 2])
    first = annotate.Config(
        data=rows(data, 2, answers=3), out=out, port=0, kind="ranking", overlap=2
    )
    annotate.main(first)
    rows(data, 3, answers=3)  # one more
    seen = []
    judge(
        lambda html: [1, 2, 3], ["ann", "bob"], lambda c: seen.append(c.get("/").text)
    )
    assert annotate.main(annotate.Config(out=out, data=str(data), port=0)) == {
        "items": 3,
        "judgements": 6,  # overlap 2 was kept
    }
    assert "Rank the answers" in seen[0]
    rankings, _ = readers.read(export(out, tmp_path / "x") / "rankings.jsonl", Ranking)
    assert len(rankings) == 6
    with pytest.raises(ValueError, match="begun with kind ranking, .* kind rating"):
        annotate.main(annotate.Config(out=out, kind="rating", port=0))


def export(out, folder):
    annotate.main(annotate.Config(out=out, export=folder))
    return folder


def test_the_arena_is_answered_by_models(tmp_path, monkeypatch):
    texts = {"a": "Paris", "b": "Rome"}
    load = lambda evaluation, path, mesh: spelling_policy(texts[path], context=64)
    monkeypatch.setattr(annotate.answerers.evaluation_models, "load_policy", load)
    names = []

    def serve(app, listener):
        with TestClient(app, base_url="http://localhost") as client:
            client.post("/login", data={"name": "ann"})
            asked = {"battle": None, "text": "Capital?"}
            lines = client.post("/arena/turn", json=asked).text.splitlines()
            told = json.loads(lines[-1])
            assert len(told["turn"]["answers"]) == 2, lines
            vote = {"battle": told["battle"], "value": "left", "seconds": 1}
            reply = client.post("/arena/vote", json=vote).json()
            names.append(reply["names"])
            # the same vote again is the same; another one comes too late
            assert client.post("/arena/vote", json=vote).json() == reply
            vote["value"] = "right"
            assert client.post("/arena/vote", json=vote).status_code == 409
            later = {"battle": told["battle"], "text": "More?"}
            assert client.post("/arena/turn", json=later).status_code == 409
            assert client.post("/arena/turn", json={"text": " "}).status_code == 422

    monkeypatch.setattr(annotate.serve, "serve", serve)
    config = annotate.Config(
        out=tmp_path / "s", kind="arena", models="a,b", port=0, temperature=0.0
    )
    assert annotate.main(config) == {"items": 1, "judgements": 1}
    (item,) = store.items(tmp_path / "s").values()
    assert {*zip(item.fields["source"], item.answers, strict=True)} == {*texts.items()}
    folder = export(tmp_path / "s", tmp_path / "x")
    battle = json.loads((folder / "battles.jsonl").read_text())
    left = names[0][0]
    assert battle[battle["winner"]] == left
    (pair,), _ = readers.read(folder / "pairs.jsonl", Preference)
    assert pair.chosen == texts[left]


def test_bad_flags_and_rows_are_one_sentence(tmp_path):
    data = rows(tmp_path / "a.jsonl")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "answers": ["x", "y"]}\n{"prompt": "b"}\n')
    short = tmp_path / "tokens"
    short.write_text("ann abc\n")
    for message, flags in {
        "holds no study yet: --data FILE begins one": {},
        "--host 0.0.0.0 is reached from other machines: --tokens": {
            "data": data,
            "host": "0.0.0.0",
        },
        "bad.jsonl:2: ": {"data": str(bad)},
        "two --models or more": {"kind": "arena", "models": "a"},
        "--models answer in --kind arena, not in pairwise": {
            "data": data,
            "models": "a,b",
        },
        "prompts from visitors, not --data": {
            "kind": "arena",
            "models": "a,b",
            "data": data,
        },
        "the token of ann is short": {"data": data, "tokens": short},
        "a gold pair has two answers": {
            "data": data,
            "gold": rows(tmp_path / "g.jsonl", 1, 3),
        },
        "there is no .*study.sqlite": {"export": tmp_path / "x"},
        "field 'ratings': expected 1 to 7": {
            "data": data,
            "gold": data,
            "kind": "rating",
        },
    }.items():
        with pytest.raises(ValueError, match=message):
            annotate.main(annotate.Config(out=tmp_path / "study", port=0, **flags))
        assert not (tmp_path / "study").exists()


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(annotate, "PACKAGES", ("no_such_package",))
    config = annotate.Config(data=rows(tmp_path / "a.jsonl"), out=tmp_path / "s")
    with pytest.raises(ImportError, match="not installed .the extra feedback."):
        annotate.main(config)


@pytest.mark.slow
def test_a_second_server_is_refused_and_ctrl_c_ends_the_first(tmp_path):
    command = [sys.executable, "-m", "experiments.annotate", "--port", "0"]
    command += ["--data", rows(tmp_path / "a.jsonl"), "--out", str(tmp_path / "s")]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **options) as server:
        assert "4 items" in server.stdout.readline()
        assert "http://127.0.0.1:" in server.stdout.readline()
        second = subprocess.run(command, cwd=ROOT, timeout=120, **options)
        assert second.returncode == 1
        assert "is in use by another run, process" in second.stderr
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
    assert server.returncode == 0 and err == ""
    assert "0 judgements of 0 people; --export" in out
