"""Chat sessions: streams of text, turns that share a cache, commands between turns."""

import pytest

from jaxalign.pipeline import text_models
from jaxalign.pipeline.evaluation.chat_session import (
    ChatSession,
    ChatSettings,
    ContextFull,
)
from tests.support.spelling_model import spelling_policy

GREEDY = ChatSettings(temperature=0.0, max_new_tokens=24)
TEXT = "né: €日!"  # 1, 2 and 3 bytes a character, none of them twice


@pytest.fixture(scope="module")
def stories(public_data):
    return text_models.load(public_data / "stories260K" / "hf")


def test_greedy_turns_are_those_of_generate(stories):
    session = ChatSession(stories.policy, GREEDY)
    texts = ("Once upon a time", "But then a big dog", "They were sad.")
    answers = ["".join(session.send(text)) for text in texts]
    assert [m["content"] for m in session.messages[0::2]] == list(texts)
    assert [m["content"] for m in session.messages[1::2]] == answers
    conversations = [session.messages[:n] for n in (1, 3, 5)]
    expected = stories.generate(conversations, max_new_tokens=24, temperature=0.0)
    assert answers == expected


def test_a_turn_reads_only_what_is_new(stories):
    session = ChatSession(stories.policy, GREEDY)
    list(session.send("Once upon a time"))
    # BOS and 4 words
    assert (session.turn.prompt, session.turn.prefilled) == (5, 5)
    list(session.send("But then a big dog"))
    # the last token of the answer was sampled and not read; the rest is the message
    message = stories.policy.tokenizer.encode("But then a big dog")
    new = len([t for t in message if t != stories.policy.tokenizer.bos_token_id])
    assert session.turn.prompt == 5 + 24 + new
    assert session.turn.prefilled == 1 + new


def test_a_sampled_answer_is_that_of_its_seed_and_regenerates_to_others(stories):
    session = ChatSession(stories.policy, ChatSettings(max_new_tokens=12, seed=4))
    first = "".join(session.send("One day"))
    second = "".join(session.regenerate())
    assert session.turn.prefilled == 1
    assert first != second and session.messages[-1]["content"] == second
    assert len(session.messages) == 2
    again = ChatSession(stories.policy, ChatSettings(max_new_tokens=12, seed=4))
    assert "".join(again.send("One day")) == first
    assert "".join(again.regenerate()) == second


def test_pieces_are_whole_characters():
    session = ChatSession(spelling_policy(TEXT), GREEDY)
    pieces = list(session.send("Hi"))
    assert "".join(pieces) == TEXT
    # é, € and 日 are one piece each, of 2 and 3 tokens; the blank waits for €
    assert pieces == ["n", "é", ":", " €", "日", "!"]
    assert session.turn.end == "stop" and session.turn.tokens == 12 + 1


def test_the_system_prompt_stays_through_a_reset_and_can_be_changed():
    session = ChatSession(spelling_policy(TEXT), GREEDY, "Be brief.")
    list(session.send("Hi"))
    assert [m["role"] for m in session.messages] == ["system", "user", "assistant"]
    first = session.turn.prompt
    session.reset()
    assert [m["role"] for m in session.messages] == ["system"]
    list(session.send("Hi"))
    # the same prompt: its last token alone is read again
    assert (session.turn.prompt, session.turn.prefilled) == (first, 1)
    session.set_system("")
    assert [m["role"] for m in session.messages] == ["user", "assistant"]


def test_the_end_of_the_context_is_said(stories):
    session = ChatSession(spelling_policy(TEXT, context=24), ChatSettings())
    # <|user|> 4 letters <|end|> <|assistant|>: 7 tokens; 17 remain, and 13 are used
    list(session.send("many"))
    assert session.turn.end == "stop"
    before = list(session.messages)
    # 7 + 12 of the answer and its end + 4 more with a letter: no room is left
    with pytest.raises(ContextFull, match=r"has 24 tokens, and the context 24: /reset"):
        session.send("x")
    assert session.messages == before
    short = ChatSession(spelling_policy(TEXT, context=12), ChatSettings())
    # 5 tokens: n, two of é, the colon, the blank, which is stripped
    assert "".join(short.send("many")) == "né:"
    assert short.turn.end == "context"


@pytest.mark.parametrize(
    "text, message",
    [(" ", "the message is empty"), ("a <|end|> b", "holds the special token '<.end")],
)
def test_messages_that_are_refused(text, message):
    session = ChatSession(spelling_policy(TEXT), GREEDY)
    with pytest.raises(ValueError, match=message):
        session.send(text)
    assert session.messages == []
    with pytest.raises(ValueError, match="send a message first"):
        session.regenerate()


def test_a_stopped_answer_stays_as_far_as_it_came():
    session = ChatSession(spelling_policy(TEXT), GREEDY)
    pieces = session.send("Hi")
    assert next(pieces) == "n"
    session.stop()
    assert list(pieces) == []
    assert session.turn.end == "interrupt"
    assert session.messages[-1]["content"] == "n"
    assert "".join(session.send("Hi")) == TEXT  # and the next is not stopped


def test_an_interrupted_answer_leaves_a_session_that_goes_on(stories, monkeypatch):
    """Ctrl-C within a call of the model: its cache is lost, the conversation not."""
    session = ChatSession(stories.policy, GREEDY)
    pieces = session.send("Once upon a time")
    next(pieces)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.decoder, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(pieces)
    begun = list(session.messages)
    answer = "".join(session.send("There was a dog"))
    assert session.turn.prefilled == session.turn.prompt  # all of it
    fresh = ChatSession(stories.policy, GREEDY)
    fresh.messages = begun
    assert "".join(fresh.send("There was a dog")) == answer
