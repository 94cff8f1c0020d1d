"""The benchmark of tokenising: it counts the tokens that there are."""

import json

from experiments.speed import tokenize
from jaxalign.data import tokenizer as tokenizers


def test_all_tokens_of_all_pairs_are_counted(tmp_path):
    tokenizer = tokenizers.train(["a b c"], vocab_size=261)
    tokenizer.save_pretrained(tmp_path / "model")
    config = tokenize.Config(
        pairs=30, workers=0, model=str(tmp_path / "model"), out=tmp_path / "out.json"
    )
    found = tokenize.main(config)
    assert json.loads((tmp_path / "out.json").read_text()) == found
    # every byte is a token, and a side has three special tokens and its end
    rows = list(tokenize.rows(config))
    sides = [
        row["prompt"] + row[side] for row in rows for side in ("chosen", "rejected")
    ]
    assert found["tokens"] == sum(len(side.encode()) + 4 for side in sides)
    assert "pairs: 30\n" in (tmp_path / "out.config.yaml").read_text()
    assert found["pairs"] == 30 and 0 < found["peak_gib"] < 2
    assert found["ratio"] == found["their_seconds"] / found["seconds"]
