"""Rows of reward benchmarks: the published layouts, and what is refused."""

import json

import pytest

from jaxalign.pipeline.reward_benchmarks import rows
from jaxalign.pipeline.reward_benchmarks.rows import parse_benchmark_row


def parse(row):
    (parsed,) = parse_benchmark_row(row, "f.jsonl:3", "mine")
    return parsed


def write(path, table):
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return str(path)


V1 = {
    "prompt": "2 + 2?",
    "chosen": "4",
    "chosen_model": "a",
    "rejected": "5",
    "rejected_model": "b",
    "subset": "math-prm",
    "id": 7,
}
V2 = {
    "id": "12",
    "prompt": "2 + 2?",
    "chosen": ["4"],
    "rejected": ["5", "6", "7"],
    "num_correct": 1,
    "num_incorrect": 3,
    "total_completions": 4,
    "models": ["a", "b", "c", "d"],
    "subset": "Math",
}
TIES = {
    "id": "tied:3",
    "prompt": "Name a color.",
    "chosen": ["red", "blue"],
    "rejected": ["seven"],
    "num_correct": 2,
    "subset": "Ties",
}
STYLES = {
    "id": 0,
    "prompt": "2 + 2?",
    "chosen": ["4", "It is 4.", "**4**"],
    "rejected": ["5", "It is 5.", "**5**"],
    "domain": "math",
}


class TestLayouts:
    def test_reward_bench(self):
        row = parse(V1)
        assert row.layout == "pair" and row.answers == ("4", "5")
        assert (row.subset, row.row_id) == ("math-prm", "7")
        assert row.prompt.fields["chosen_model"] == "a"

    def test_reward_bench_2(self):
        row = parse(V2)
        assert row.layout == "best_of" and row.right == 1
        assert row.answers == ("4", "5", "6", "7") and row.subset == "Math"

    def test_ties(self):
        row = parse(TIES)
        assert row.layout == "ties" and row.right == 2
        assert row.answers == ("red", "blue", "seven")
        assert rows.prompt_key(row) == "3"

    def test_rm_bench(self):
        row = parse(STYLES)
        assert row.layout == "styles" and row.right == 3 and row.subset == "math"
        assert row.answers == (*STYLES["chosen"], *STYLES["rejected"])

    @pytest.mark.parametrize("label", [1, 2])
    def test_llmbar(self, label):
        found = parse({"input": "q", "output_1": "a", "output_2": "b", "label": label})
        assert found.answers == (("a", "b") if label == 1 else ("b", "a"))
        assert found.subset == "mine" and found.layout == "pair"

    def test_pairs_of_messages_and_rankings_of_ours(self):
        messages = lambda text: [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": text},
        ]
        pair = parse({"chosen": messages("a"), "rejected": messages("b"), "margin": 2})
        assert pair.answers == ("a", "b") and pair.margin == 2.0
        ranking = {"prompt": "q", "answers": ["a", "b", "c"]}
        pairs = list(parse_benchmark_row(ranking, "f:1", "mine"))
        assert [p.answers for p in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
        assert len({rows.prompt_key(p) for p in pairs}) == 1

    @pytest.mark.parametrize(
        ("path", "subset"),
        [
            ("llmbar/Adversarial_Neighbor_dataset.json", "llmbar-adver-neighbor"),
            ("LLMBar/Natural/dataset.json", "llmbar-natural"),
            ("my_natural.jsonl", "my_natural"),
        ],
    )
    def test_the_subset_of_a_file(self, path, subset):
        assert rows.default_subset(path) == subset


REFUSED = [
    ({"prompt": "q", "rejected": "b"}, "field 'chosen' .* is missing"),
    ({"prompt": "q", "chosen": "a"}, "field 'rejected' is missing"),
    (V2 | {"chosen": []}, "field 'chosen' is an empty list"),
    ({**V2, "rejected": "5"}, "field 'rejected' is text; expected a list of texts"),
    (V2 | {"chosen": ["4", "four"]}, "'chosen' has 2 answers and 'rejected' 3"),
    (V2 | {"num_correct": 2}, "field 'num_correct' is 2, but 'chosen' has 1"),
    (TIES | {"id": "x3"}, "field 'id' is 'x3'; expected ref:NUMBER or tied:NUMBER"),
    (
        {"input": "q", "output_1": "a", "output_2": "b", "label": 0},
        "field 'label' is 0; expected 1 or 2",
    ),
    ({"input": "q", "output_1": "a", "output_2": "b"}, "field 'label' is missing"),
    ([1], "is not a JSON object"),
    (
        {
            "prompt": "q",
            "chosen": [{"role": "assistant", "content": "a", "reasoning": "r"}],
            "rejected": "b",
        },
        "'chosen' has 'reasoning_content'; expected an answer that is text alone",
    ),
]


@pytest.mark.parametrize(("row", "message"), REFUSED)
def test_a_malformed_row_is_named(tmp_path, row, message):
    path = write(tmp_path / "f.jsonl", [V1, row])
    with pytest.raises(ValueError, match=f"f.jsonl:2: .*{message}"):
        rows.read_benchmarks([path])
    kept, reasons = rows.read_benchmarks([path], skip_bad_rows=True)
    assert len(kept) == 1 and reasons == {"malformed": 1}


def test_an_empty_file_is_named(tmp_path):
    path = write(tmp_path / "empty.jsonl", [])
    with pytest.raises(ValueError, match="empty.jsonl"):
        rows.read_benchmarks([path])
    with pytest.raises(FileNotFoundError, match="nothing.jsonl"):
        rows.read_benchmarks([str(tmp_path / "nothing.jsonl")])


class TestSample:
    def table(self, tmp_path):
        pairs = [V1 | {"prompt": f"{i}?", "subset": "ab"[i % 2]} for i in range(20)]
        ties = [
            TIES | {"id": f"{kind}:{i}", "prompt": f"{kind} {i}"}
            for i in range(6)
            for kind in ("ref", "tied")
        ]
        return rows.read_benchmarks([write(tmp_path / "f.jsonl", pairs + ties)])[0]

    def test_prompts_of_each_subset_in_their_order(self, tmp_path):
        table = self.table(tmp_path)
        kept = rows.sample_rows(table, 3, seed=0)
        assert [row.subset for row in kept].count("a") == 3
        order = [table.index(row) for row in kept]
        assert order == sorted(order)
        assert rows.sample_rows(table, 3, seed=1) != kept
        assert rows.sample_rows(table, None, seed=0) == table

    def test_both_rows_of_ties_stay_together(self, tmp_path):
        kept = rows.sample_rows(self.table(tmp_path), 2, seed=0)
        ids = [row.row_id for row in kept if row.subset == "Ties"]
        assert len(ids) == 4 and len({i.partition(":")[2] for i in ids}) == 2
