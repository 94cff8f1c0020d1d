"""experiments.perplexity: the golden NLL, windows, files, and what is refused."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

import jaxalign
from experiments import perplexity
from jaxalign.pipeline.evaluation import text_nll
from jaxalign.runtime import resumable_rows
from tests.support import untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(untrained.save(tmp_path_factory.mktemp("models") / "policy"))


def rows_of(config):
    text = (config.out / "windows-1.jsonl").read_text()
    return list(map(json.loads, text.splitlines()))


def stories_config(public_data, data, out, **flags):
    return perplexity.Config(
        model=str(public_data / "stories260K" / "hf"),
        data=str(data),
        documents="stories",
        long_texts="cut",
        out=out,
        **flags,
    )


def test_stories_have_the_nll_of_transformers(public_data, tmp_path):
    """8 of the golden recipe's stories; transformers, in float64, gave each one's."""
    expected = [392.50232, 549.60503, 553.52854, 497.98394]
    expected += [348.84264, 351.34180, 376.52294, 426.40602]
    text = (public_data / "text" / "tinystories_1mb.txt").read_text()
    lines = text.split("\n")
    ends = [i for i, line in enumerate(lines) if line and lines[i + 1] and i]
    (tmp_path / "t.txt").write_text("\n".join(lines[: ends[7] + 1]))
    config = stories_config(public_data, tmp_path / "t.txt", tmp_path / "out")
    numbers = perplexity.main(config)
    rows = rows_of(config)
    # up to 413 float32 log-probs of 1e-6 each
    np.testing.assert_allclose([row["nll"] for row in rows], expected, rtol=2e-6)
    tokens = sum(row["tokens"] for row in rows)
    np.testing.assert_allclose(numbers["nll"].mean, sum(expected) / tokens, rtol=2e-6)
    bits = sum(expected) / math.log(2) / numbers["bytes"]
    # float32 rounding
    np.testing.assert_allclose(numbers["bits_per_byte"].mean, bits, rtol=2e-6)
    assert numbers["documents"] == 8 and numbers["unit"] == "window"


@pytest.mark.slow
def test_the_golden_nll_of_all_stories(public_data, tmp_path):
    data = public_data / "text" / "tinystories_1mb.txt"
    numbers = perplexity.main(stories_config(public_data, data, tmp_path))
    # the golden number was made in float32; float64 gives 1.5756697724
    assert abs(numbers["nll"].mean - 1.5756697476) < 1e-7
    assert numbers["documents"] == 1097 and numbers["tokens"] == 406837
    assert numbers["unit"] == "document"


def direct_nll(policy, ids, first):
    """The NLL of the tokens from `first` on, by a log-softmax of all logits."""
    tokens = np.array([ids], np.int32)
    positions = np.arange(len(ids), dtype=np.int32)[None]
    hidden = policy.model.hidden(policy.params, tokens, positions, np.ones_like(tokens))
    logits = hidden[0] @ policy.model.unembed(policy.params)
    logp = np.asarray(jax.nn.log_softmax(logits))
    return -sum(logp[i - 1, ids[i]] for i in range(first, len(ids)))


def test_windows_of_a_long_text_add_up_to_its_tokens(folder, tmp_path):
    text = "the red dog sat on the mat and then it ran away from the cat. " * 3
    (tmp_path / "t.txt").write_text(text)
    config = perplexity.Config(
        model=folder, data=str(tmp_path / "t.txt"), out=tmp_path / "a", stride=95
    )
    long = perplexity.main(config)
    # 186 bytes are 186 tokens after the beginning: 95 in the first window, then 91
    assert long["tokens"] == long["bytes"] == len(text)
    rows = rows_of(config)
    assert [(r["first"], r["tokens"]) for r in rows] == [(0, 95), (95, 91)]
    policy = jaxalign.load(folder).policy
    ids = [policy.tokenizer.eos_token_id, *policy.tokenizer.encode(text)]
    # the last window is the last 96 tokens, of which the first 5 are context
    expected = [direct_nll(policy, ids[:96], 1), direct_nll(policy, ids[91:], 5)]
    # sums of up to 95 float32 log-probs of 1e-6 each, in another order
    np.testing.assert_allclose([r["nll"] for r in rows], expected, rtol=1e-5)
    # a token of each byte: bits per byte are NLL in bits
    np.testing.assert_allclose(
        long["bits_per_byte"].mean, long["nll"].mean / math.log(2), rtol=1e-12
    )
    end = dataclasses.replace(config, score_end=True, out=tmp_path / "b")
    assert perplexity.main(end)["tokens"] == len(text) + 1


def test_files_rows_and_models(folder, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one\ntwo\n\nthree\n")
    rows = [{"story": "a longer text " * n} for n in range(1, 4)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    other = untrained.save(tmp_path / "other")
    config = perplexity.Config(
        model=f"{folder},{other}",
        data=f"{tmp_path / 'a.txt'},{tmp_path / 'b.jsonl'}",
        documents="lines",
        field="story",
        out=tmp_path / "out",
    )
    tables = perplexity.main(config)["files"]
    first, second = tables.values()
    assert [(r["documents"], r["bytes"]) for r in first] == [(3, 11), (3, 84), (6, 95)]
    assert str(first) == str(second)  # the same weights
    assert "b.jsonl" in (config.out / "report.html").read_text()
    # a finished run is read, not measured again
    monkeypatch.setattr(text_nll, "window_nll", None)
    again = perplexity.main(dataclasses.replace(config, resume=True))
    assert str(again["files"]) == str(tables)


def test_an_interrupted_run_goes_on(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(text_nll, "WINDOWS_PER_CHUNK", 2)
    (tmp_path / "a.txt").write_text("\n".join("one two three four five six".split()))
    config = perplexity.Config(
        model=folder,
        data=str(tmp_path / "a.txt"),
        documents="lines",
        out=tmp_path / "o",
    )
    whole = perplexity.main(dataclasses.replace(config, out=tmp_path / "whole"))
    append, chunks = resumable_rows.append_chunk, []

    def interrupt(path, done, rows):
        append(path, done, rows)
        chunks.append(done)
        if done == 4 and len(chunks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(resumable_rows, "append_chunk", interrupt)
    with pytest.raises(KeyboardInterrupt):
        perplexity.main(config)
    again = perplexity.main(dataclasses.replace(config, resume=True))
    assert str(again) == str(whole)
    assert chunks == [2, 4, 4, 6]  # what was read is written again, and the rest made


def test_special_and_unknown_tokens_are_noted(public_data, folder, tmp_path):
    (tmp_path / "a.txt").write_text("one <s> two <unk>")
    perplexity.main(stories_config(public_data, tmp_path / "a.txt", tmp_path / "out"))
    notes = " ".join(json.loads((tmp_path / "out" / "notes.json").read_text()))
    assert "1 tokens are the unknown token" in notes
    assert "1 documents hold texts of special tokens" in notes


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"model": "nowhere"}, "--model nowhere: no such folder"),
        ({"data": "nothing.txt"}, "no such file: nothing.txt"),
        ({"data": "bad.txt"}, "bad.txt:1: byte 0xff is not UTF-8"),
        ({"data": "blank.txt"}, "blank.txt holds no text"),
        ({"stride": 96}, "--stride 96: expected 1 to 95"),
        ({"context": 97}, "--context 97 is longer than the 96 positions"),
        ({"model": "reward"}, "is a reward model"),
    ],
)
def test_refusals_are_one_sentence(folder, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.txt").write_text("a text")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    (tmp_path / "blank.txt").write_text(" \n")
    if flags.get("model") == "reward":
        untrained.save_reward(tmp_path / "reward")
    settings = {"model": folder, "data": "good.txt", "out": tmp_path / "out"} | flags
    with pytest.raises((ValueError, OSError), match=message):
        perplexity.main(perplexity.Config(**settings))
    assert not (tmp_path / "out").exists()
