"""Loss masks of rows: messages masked out of the loss, and plain texts."""

from jaxalign.data.records import Demonstration, Unpaired, assistant_message
from tests.data.tool_chats import (
    CALL_MESSAGE,
    PROMPT,
    QWEN,
    RESULT,
    skip_reasons,
    tokenize_records,
    trained_text,
)


def test_masked_messages_are_not_trained(make_tokenizer, tokenizer):
    bad, good = assistant_message("BAD") | {"train": False}, assistant_message("good")
    for which in (tokenizer, make_tokenizer(*QWEN)):
        end = "<|end|>" if which is tokenizer else "<|im_end|>"
        messages = Demonstration([PROMPT, bad, PROMPT, good])
        assert trained_text(which, messages, all_turns=True) == ["good" + end]
        assert trained_text(which, messages) == ["good" + end]
        last = Demonstration([PROMPT, good, PROMPT, bad])
        assert trained_text(which, last, all_turns=True) == ["good" + end]
        nothing = {"with nothing that is trained (field 'train')": 1}
        assert skip_reasons(which, last) == nothing
        assert (
            skip_reasons(which, Demonstration([PROMPT, bad]), all_turns=True) == nothing
        )
        assert skip_reasons(which, Unpaired([PROMPT], bad, True)) == nothing
        # masked messages are still context
        (example,), _ = tokenize_records(which, last, all_turns=True)
        assert "BAD" in which.decode(example.sequences[0].tokens)
    call = Demonstration([PROMPT, CALL_MESSAGE | {"train": False}, RESULT, good])
    assert trained_text(make_tokenizer(*QWEN), call) == ["good<|im_end|>"]


def test_a_plain_text_is_trained_except_its_first_token(make_tokenizer, stories):
    plain = Demonstration([{"role": "user", "content": "Once upon a time"}], plain=True)
    assert trained_text(stories, plain) == ["Once upon a time</s>"]
    (example,), _ = tokenize_records(stories, plain)
    (row,) = example.sequences
    assert row.tokens[0] == stories.bos_token_id and row.mask.tolist() == [
        False,
        *[True] * (len(row.tokens) - 1),
    ]
    templated = make_tokenizer(*QWEN)  # which begins no text; beside conversations
    both = [plain, Demonstration([PROMPT, assistant_message("b")]), plain]
    examples, _ = tokenize_records(templated, *both)
    texts = [templated.decode(e.sequences[0].tokens) for e in examples]
    assert (
        texts[0] == texts[2] == "Once upon a time<|im_end|>" and "im_start" in texts[1]
    )
    assert examples[0].sequences[0].mask.tolist()[:2] == [False, True]
    assert skip_reasons(
        stories,
        Demonstration([{"role": "user", "content": "a</s>b"}], plain=True),
        Demonstration([{"role": "user", "content": " "}], plain=True),
    ) == {"with special tokens in their text": 1, "with an empty answer": 1}
