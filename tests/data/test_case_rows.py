"""Files of rows that were once misread, and the record of the first row of each."""

from pathlib import Path

import pytest

from jaxalign.data import readers
from jaxalign.data.records import Preference
from tests.data.rows import a, call, labeled, pair, rl_prompt, s, sft, tool, u

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "data"
PIRATE = "Speak like a pirate."
ARR = sft(s(PIRATE), u("Name colour 0"), a("Arr, blue 0"))
ARR_OR_BLUE = pair([s(PIRATE), u("Name colour 0")], "Arr, blue 0", "Blue 0")
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "weather of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    },
}
BAD = a("BAD ANSWER", train=False)
AGAIN = sft(u("q0"), BAD, u("again"), a("good answer"))
TWO_TURNS = [s("Be kind."), u("FIRST QUESTION 0"), a("a first"), u("second question")]
# file -> number of rows and the first record, or kind of record and error message
FILES = {
    "loss_weight_zero": (12, AGAIN),
    "weight_zero": (12, AGAIN),
    "train_false": (12, AGAIN),
    "long_prompts": (40, sft(u("word word word 0"), a("c"))),
    "messages_and_answer": (
        12,
        sft(
            u("What is 0 + 1?"),
            a("<think>\none more\n</think>\n\nIt is 1."),
            fields={
                "problem": "What is 0 + 1?",
                "solution": "Add one: 1.",
                "answer": "1",
            },
        ),
    ),
    "messages_and_answer, prompts": (
        12,
        rl_prompt(
            [u("What is 0 + 1?")],
            "1",
            fields={"problem": "What is 0 + 1?", "solution": "Add one: 1."},
        ),
    ),
    "mix_a": (1000, sft(u("a0"), a("from a"))),
    "mix_b": (100, sft(u("b0"), a("from b"))),
    "mix_pa": (1000, pair([u("a0")], "from a", "x")),
    "mix_pb": (100, pair([u("b0")], "from b", "x")),
    "prompt_and_messages": (
        12,
        sft(u("Hello 0"), a("Hi"), u("Bye"), a("Bye bye"), fields={"prompt_id": "x"}),
    ),
    "prompt_and_multi_turn_pair": (12, pair(TWO_TURNS, "kind", "rude")),
    "prompt_and_multi_turn_pair, sft": (12, sft(*TWO_TURNS, a("kind"))),
    "prompt_and_multi_turn_pair, prompts": (12, rl_prompt(TWO_TURNS, "kind")),
    "prompt_and_multi_turn_pair_differs": (
        Preference,
        "'chosen' and 'rejected' differ before their last message",
    ),
    "reasoning_content": (
        12,
        sft(u("0 + 0?"), a("0", reasoning_content="0 and 0 make 0.")),
    ),
    "reasoning_content_pairs": (
        12,
        pair(
            [u("0 + 0?")],
            a("0", reasoning_content="0 and 0 make 0."),
            a("0", reasoning_content="No idea."),
        ),
    ),
    "roles_developer": (
        12,
        sft({"role": "developer", "content": "Be brief."}, u("hello 0"), a("hi")),
    ),
    "roles_gemma": (12, sft(u("hello 0"), a("hi"))),
    "system_alpaca": (12, ARR),
    "system_messages": (12, ARR),
    "system_prompt_completion": (12, ARR),
    "system_question_answer": (12, ARR),
    "system_sharegpt": (12, ARR),
    "system_pairs_chosen_lists": (12, ARR_OR_BLUE),
    "system_pairs_prompt": (12, ARR_OR_BLUE),
    "system_pairs_question": (12, ARR_OR_BLUE),
    "system_prompt_and_chosen": (12, pair([s("Be kind."), u("Q 0")], "kind", "rude")),
    "text_only": (12, sft(a("line 0 of plain text"), plain=True)),
    "text_only, pairs": (Preference, "'text' alone is plain text"),
    "think_text": (
        12,
        sft(u("0 + 0?"), a("<think>double</think><answer>0</answer>")),
    ),
    "thumbs": (40, labeled(False, [u("p0")], "c0 bad")),
    "thumbs, sft": (20, sft(u("p1"), a("c1 good"))),
    "tool_call_null_content": (
        12,
        sft(
            u("Weather in Oslo? 0"),
            a("", tool_calls=[call()]),
            tool(name="weather"),
            a("It is 4 degrees."),
            tools=(WEATHER,),
        ),
    ),
    "tools_column": (
        12,
        sft(
            u("Which tools have you? 0"),
            a("I can look up the weather."),
            tools=(WEATHER,),
        ),
    ),
    "tools_column_pairs": (
        12,
        pair([u("Which tools have you? 0")], "The weather.", "None.", tools=(WEATHER,)),
    ),
    "bom_crlf_blank_dup": (Preference, "'chosen' .* is missing"),
}


@pytest.mark.parametrize("name", FILES)
def test_rows_keep_their_meaning(name):
    path = CASES / f"{name.partition(',')[0]}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    first, second = FILES[name]
    if isinstance(second, str):
        with pytest.raises(ValueError, match=f"{path.name}:[0-9]+: field.* {second}"):
            readers.read(path, first)
        return
    records, report = readers.read(path, type(second))
    expected = {**vars(second), "location": records[0].location}
    assert records[0] == type(second)(**expected)
    assert len(records) == first
    if name == "thumbs, sft":
        assert str(report) == "20 of 40 rows (20 with an answer labeled false)"
        assert [r.messages[-1]["content"][-4:] for r in records] == ["good"] * 20
