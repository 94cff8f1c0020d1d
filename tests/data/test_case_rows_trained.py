"""Files of rows that were once misread: the trained text of the first row of each.

The records of the rows are in `test_case_rows`.
"""

import pytest

from jaxalign.data import readers
from jaxalign.data.records import Demonstration, Preference, Unpaired
from tests.data.test_case_rows import CASES
from tests.data.tool_chats import QWEN, QWEN3, QWEN_CALL, tokenize_records, trained_text

END = "<|im_end|>"
NO_THOUGHT = "<think>\n\n</think>\n\n"
SFT, PAIR = Demonstration, Preference
# file -> kind of record, trained texts (all turns), and a part of the masked text
FILES = {
    "loss_weight_zero": (SFT, ["good answer" + END], "BAD ANSWER"),
    "weight_zero": (SFT, ["good answer" + END], "BAD ANSWER"),
    "train_false": (SFT, ["good answer" + END], "BAD ANSWER"),
    "long_prompts": (SFT, ["c" + END], "word word word 0"),
    "messages_and_answer": (
        SFT,
        ["<think>\none more\n</think>\n\nIt is 1." + END],
        "What is 0 + 1?",
    ),
    "mix_a": (SFT, ["from a" + END], "a0"),
    "mix_pb": (PAIR, ["from b" + END, "x" + END], "b0"),
    "prompt_and_messages": (SFT, ["Hi" + END + "Bye bye" + END], "Hello 0"),
    "prompt_and_multi_turn_pair": (
        PAIR,
        ["kind" + END, "rude" + END],
        "second question",
    ),
    "roles_developer": (SFT, ["hi" + END], "system\nBe brief."),
    "roles_gemma": (SFT, ["hi" + END], "hello 0"),
    "system_alpaca": (SFT, ["Arr, blue 0" + END], "system\nSpeak like a pirate."),
    "system_messages": (SFT, ["Arr, blue 0" + END], "system\nSpeak like a pirate."),
    "system_sharegpt": (SFT, ["Arr, blue 0" + END], "system\nSpeak like a pirate."),
    "system_prompt_completion": (
        SFT,
        ["Arr, blue 0" + END],
        "system\nSpeak like a pirate.",
    ),
    "system_question_answer": (
        SFT,
        ["Arr, blue 0" + END],
        "system\nSpeak like a pirate.",
    ),
    "system_pairs_prompt": (
        PAIR,
        ["Arr, blue 0" + END, "Blue 0" + END],
        "system\nSpeak like a pirate.",
    ),
    "system_pairs_question": (
        PAIR,
        ["Arr, blue 0" + END, "Blue 0" + END],
        "system\nSpeak like a pirate.",
    ),
    "system_pairs_chosen_lists": (
        PAIR,
        ["Arr, blue 0" + END, "Blue 0" + END],
        "system\nSpeak like a pirate.",
    ),
    "system_prompt_and_chosen": (
        PAIR,
        ["kind" + END, "rude" + END],
        "system\nBe kind.",
    ),
    # plain text: all but the first token, which nothing predicts
    "text_only": (SFT, [" 0 of plain text" + END], "line"),
    "thumbs": (Unpaired, ["c0 bad" + END], "p0"),
    "thumbs, sft": (SFT, ["c1 good" + END], "p1"),
    "tool_call_null_content": (
        SFT,
        [QWEN_CALL + "It is 4 degrees." + END],
        "4 degrees",
    ),
    "tools_column": (
        SFT,
        ["I can look up the weather." + END],
        "weather of a town",
    ),
    "tools_column_pairs": (
        PAIR,
        ["The weather." + END, "None." + END],
        "weather of a town",
    ),
}


def first(name, kind):
    """The first record of a file."""
    path = CASES / f"{name.partition(',')[0]}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return readers.read(path, kind)[0][0]


@pytest.mark.parametrize("name", FILES)
def test_trained_text(make_tokenizer, name):
    kind, expected, shown = FILES[name]
    tokenizer = make_tokenizer(*QWEN)
    record = first(name, kind)
    texts = trained_text(tokenizer, record, all_turns=True)
    if name == "text_only":
        (text,) = texts
        assert "line 0 of plain text<|im_end|>".endswith(text)
        assert text.endswith("of plain text<|im_end|>")
        return
    assert texts == expected
    masked = masked_text(tokenizer, record)
    assert all(shown in text for text in masked)


def masked_text(tokenizer, record):
    """Masked text of each sequence of a record."""
    (example,), _ = tokenize_records(tokenizer, record, all_turns=True)
    return [tokenizer.decode(s.tokens[~s.mask]) for s in example.sequences]


def test_reasoning_is_trained(make_tokenizer):
    tokenizer = make_tokenizer(*QWEN3)
    thought = "<think>\n0 and 0 make 0.\n</think>\n\n0" + END
    assert trained_text(tokenizer, first("reasoning_content", SFT)) == [thought]
    pair = trained_text(tokenizer, first("reasoning_content_pairs", PAIR))
    assert pair == [thought, "<think>\nNo idea.\n</think>\n\n0" + END]
    # a template of thoughts writes an empty one where there is none
    none = trained_text(tokenizer, first("roles_gemma", SFT))
    assert none == [NO_THOUGHT + "hi" + END]
