"""Ids and texts of prompts, by which answers of several models are joined and shown."""

import hashlib

from jaxalign.data.records import Prompt, conversation_key
from jaxalign.rewards import judge_prompts


def prompt_id(prompt: Prompt) -> str:
    """An id of a prompt: 16 hexadecimal digits, a hash of its messages and tools.

    >>> prompt_id(Prompt([{"role": "user", "content": "Hi"}]))
    '30497cc7a2923f6a'
    """
    key = repr(conversation_key(prompt.messages, prompt.tools))
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def prompt_text(prompt: Prompt) -> str:
    """A prompt as text: a single user message as it is, else the whole conversation.

    >>> prompt_text(Prompt([{"role": "user", "content": "Hi"}]))
    'Hi'
    """
    messages = prompt.messages
    if len(messages) == 1 and messages[0]["role"] == "user" and not prompt.tools:
        return str(messages[0]["content"])
    return judge_prompts.transcript(messages, prompt.tools)
