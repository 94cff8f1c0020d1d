"""Roles and texts that a chat template omits."""

from jaxalign.data import chat
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Demonstration, Preference, Prompt, assistant_message
from tests.data.tool_chats import PROMPT, QWEN, skip_reasons


def test_the_developer_role_becomes_system_if_the_template_omits_it(make_tokenizer):
    messages = [
        {"role": "developer", "content": "be brief"},
        PROMPT,
        assistant_message("Cold."),
    ]
    im = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    im += "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

    def text(tokenizer):
        return tokenizer.decode(chat.encode(tokenizer, messages).tokens)

    assert "<|im_start|>developer\nbe brief<|im_end|>" in text(
        make_tokenizer(im, *QWEN[1:])
    )
    # Qwen2.5's template omits the role; the toy's refuses it
    assert "<|im_start|>system\nbe brief<|im_end|>" in text(make_tokenizer(*QWEN))
    toy = make_tokenizer(tokenizers.CHAT_TEMPLATE, ("<|system|>",), None, "<|end|>")
    assert "<|system|>be brief<|end|>" in text(toy)
    prompt = chat.encode_prompt(make_tokenizer(*QWEN), messages[:2])
    assert "system\nbe brief" in make_tokenizer(*QWEN).decode(prompt)


NO_SYSTEM = (
    "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}"
    "<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_texts_that_the_template_omits_are_refused_by_name(make_tokenizer):
    tokenizer = make_tokenizer(NO_SYSTEM, *QWEN[1:])
    rule = {"role": "system", "content": "Oslo?"}  # which stands in the text anyway
    reason = {"field 'content': the chat template leaves out what the system says": 1}
    for record in (
        Demonstration([rule, PROMPT, assistant_message("Cold.")]),
        Preference([rule, PROMPT], "a", "b"),
        Prompt([rule, PROMPT]),
    ):
        assert skip_reasons(tokenizer, record) == reason
    mute = NO_SYSTEM.replace("'system'", "'assistant'")
    (reason,) = skip_reasons(
        make_tokenizer(mute, *QWEN[1:]),
        Demonstration([PROMPT, assistant_message("Cold.")]),
    )
    assert reason == (
        "field 'content': the chat template leaves out what the assistant says"
    )
    short = NO_SYSTEM.replace("{{ m.content }}", "{{ m.content[:30] }}")
    long = Demonstration([PROMPT, assistant_message("longer than " + "thirty" * 5)])
    (reason,) = skip_reasons(make_tokenizer(short, *QWEN[1:]), long)
    assert reason == (
        "field 'content': the chat template changes or cuts what the assistant says"
    )
