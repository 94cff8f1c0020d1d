"""Tokenizers with chat templates of known models, a chat with tools, and its tokens."""

from jaxalign.data import tokenize
from jaxalign.data.records import assistant_message
from tests.data import chat_templates as known

IM = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
HEADERS = (
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
QWEN = (known.QWEN25_TOOLS, IM, None, "<|im_end|>")
LLAMA = (known.LLAMA31_TOOLS, HEADERS, "<|begin_of_text|>", "<|eot_id|>")
QWEN3 = (known.QWEN3_TOOLS, IM, None, "<|im_end|>")
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "weather of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    },
}
CALL = {
    "type": "function",
    "function": {"name": "weather", "arguments": {"town": "Oslo"}},
}
PROMPT = {"role": "user", "content": "Oslo?"}
CALL_MESSAGE = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "name": "weather", "content": "4 degrees"}
CHAT = [
    PROMPT,
    CALL_MESSAGE,
    RESULT,
    assistant_message("It is cold."),
    PROMPT,
    assistant_message("Cold."),
]
QWEN_CALL = (
    '<tool_call>\n{"name": "weather", "arguments": {"town": "Oslo"}}\n</tool_call>'
    "<|im_end|>"
)
LLAMA_CALL = '{"name": "weather", "parameters": {"town": "Oslo"}}<|eot_id|>'


def tokenize_records(tokenizer, *records, all_turns=False):
    """Examples of the records, and the report."""
    return tokenize.tokenize_usable(
        records, tokenizer, context=99999, overlong="drop", all_turns=all_turns
    )


def trained_text(tokenizer, record, **settings):
    """Text of the tokens that the loss counts, of each sequence of a record."""
    (example,), _ = tokenize_records(tokenizer, record, **settings)
    return [tokenizer.decode(s.tokens[s.mask]) for s in example.sequences]


def skip_reasons(tokenizer, *records, **settings):
    """Reasons for which records are skipped -> their numbers."""
    return dict(tokenize_records(tokenizer, *records, **settings)[1].reasons)
