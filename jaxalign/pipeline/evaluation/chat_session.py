"""A conversation with a model: text in, a stream of text out, one KV cache.

    session = ChatSession(policy, ChatSettings(temperature=0.7))
    for text in session.send("What is 2 + 2?"):
        print(text, end="", flush=True)

Each turn renders the whole conversation by the chat template, and reads only the tokens
after the prefix that it shares with the cache.

A model with the token [RESET] may take back what it has said of an answer: then a
`Retraction` comes among the pieces, and the answer begins anew. What was taken back
stays in the cache until the answer ends, and joins no conversation.
"""

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax

from jaxalign import streams
from jaxalign.data import chat, special_tokens
from jaxalign.data.records import assistant_message
from jaxalign.data.text_stream import Retraction, TextStream
from jaxalign.pipeline.policies import Policy
from jaxalign.sampling.incremental import IncrementalDecoder
from jaxalign.sampling.sampling_params import SamplingParams

ANSWER_STREAM = "generate"  # the name of the random stream of answers


class ContextFull(ValueError):
    """A conversation that leaves no room for an answer in the model's context."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """How answers are sampled.

    Attributes:
      max_new_tokens: tokens of the longest answer; fewer where the context ends.
      temperature: at least 0; 0 is greedy.
      top_p, top_k: as in `SamplingParams`; None for all tokens.
      seed: an answer depends on it, on the conversation, and on how often the
        conversation was answered before.
      logit_bias, once_tokens: as in `SamplingParams`.
    """

    max_new_tokens: int = 512
    temperature: float = 1.0
    top_p: float | None = None
    top_k: int | None = None
    seed: int = 0
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)
    once_tokens: tuple[int, ...] = ()


@dataclasses.dataclass
class Turn:
    """What the last answer cost and how it ended.

    Attributes:
      prompt: tokens of the conversation before the answer.
      prefilled: those of them that were not in the cache.
      tokens: of the answer, its stop token and what it took back included.
      discarded: those up to its last [RESET], this included.
      end: "stop" by the model, "length" by max_new_tokens, "context" where the
        context was full, "interrupt" by `ChatSession.stop`, "" while it is made.
      seconds: since the message was sent.
    """

    prompt: int
    prefilled: int = 0
    tokens: int = 0
    discarded: int = 0
    end: str = ""
    seconds: float = 0.0


def visible_text(pieces: Iterable[str | Retraction]) -> str:
    """The text of a stream: all pieces after the last retraction.

    >>> visible_text(["First", " get", Retraction("First get"), "No."])
    'No.'
    """
    text = ""
    for piece in pieces:
        text = "" if isinstance(piece, Retraction) else text + piece
    return text


class ChatSession:
    """A conversation with one model.

    Attributes:
      messages: the conversation, the system prompt included.
      settings: of the sampling; may be replaced between turns.
      turn: the last turn; None before the first.
    """

    def __init__(
        self,
        policy: Policy,
        settings: ChatSettings | None = None,
        system: str | None = None,
    ) -> None:
        self.policy = policy
        self.settings = settings or ChatSettings()
        self.decoder = IncrementalDecoder(policy.model, policy.params, policy.context)
        self.messages: list[dict[str, Any]] = []
        self.turn: Turn | None = None
        self.answered: dict[int, int] = {}
        self.should_stop = False
        self.set_system(system or "")

    def set_system(self, text: str) -> None:
        """Replaces the system prompt, "" for none; the conversation goes on.

        Raises:
          ValueError: a special token, or a template without a system prompt; the
            conversation is as before.
        """
        talk = [m for m in self.messages if m["role"] != "system"]
        system = [{"role": "system", "content": text}] * bool(text.strip())
        if system:
            self.check_text(text)
            question = [] if talk else [{"role": "user", "content": "?"}]
            chat.encode_prompt(self.policy.tokenizer, [*system, *talk, *question])
        self.messages = [*system, *talk]

    def reset(self) -> None:
        """Begins a new conversation, with the same system prompt."""
        self.messages = [m for m in self.messages if m["role"] == "system"]

    def stop(self) -> None:
        """Ends the answer that is being made after its next token."""
        self.should_stop = True

    def send(self, text: str) -> Iterator[str | Retraction]:
        """Answers a message of the user; the answer joins the conversation.

        Returns:
          The pieces of the answer; together they are its text (`visible_text`, of a
          model that takes back). An answer that is left in the middle joins the
          conversation as far as it was made.

        Raises:
          ContextFull: no room for an answer.
          ValueError: an empty message, a special token, or a conversation that the
            chat template refuses. The conversation is as before.
        """
        if not text.strip():
            raise ValueError("the message is empty")
        self.check_text(text)
        return self.answer([*self.messages, {"role": "user", "content": text}])

    def regenerate(self) -> Iterator[str | Retraction]:
        """Another answer to the last message, in place of the last one.

        At temperature 0 it is the same.

        Raises:
          ValueError: no message was sent.
        """
        asked = list(self.messages)
        while asked and asked[-1]["role"] != "user":
            asked.pop()
        if not asked:
            raise ValueError("there is no answer to make again: send a message first")
        return self.answer(asked)

    def check_text(self, text: str) -> None:
        """Refuses a text with special tokens, which would end or begin turns.

        Raises:
          ValueError: names the token.
        """
        for token in special_tokens.forbidden_tokens(self.policy.tokenizer):
            if token in text:
                raise ValueError(
                    f"the text holds the special token {token!r}: leave it out"
                )

    def answer(self, conversation: list[dict[str, Any]]) -> Iterator[str | Retraction]:
        """Checks that an answer has room, and returns its pieces."""
        tokenizer, context = self.policy.tokenizer, self.policy.context
        prompt = chat.encode_prompt(tokenizer, conversation)
        room = context - len(prompt)
        if room < 1:
            raise ContextFull(
                f"the conversation has {len(prompt)} tokens, and the context "
                f"{context}: /reset begins a new one, or send a shorter message"
            )
        return self.stream(conversation, prompt.tolist(), room)

    def stream(
        self, conversation: list[dict[str, Any]], prompt: list[int], room: int
    ) -> Iterator[str | Retraction]:
        """The pieces of an answer, which joins the conversation at its end."""
        start = time.perf_counter()
        turn = self.turn = Turn(prompt=len(prompt))
        self.should_stop = False
        text = TextStream(self.policy.tokenizer)
        try:
            turn.prefilled = self.decoder.read(prompt)
            for token in self.sample(conversation, room):
                turn.tokens += 1
                if token in self.policy.stop_tokens:
                    turn.end = "stop"
                    break
                if new := text.push(token):
                    turn.discarded = text.discarded
                    yield new
                if self.should_stop:
                    turn.end = "interrupt"
                    break
            turn.end = turn.end or (
                "length" if self.settings.max_new_tokens < room else "context"
            )
            if rest := text.finish():
                yield rest
        except GeneratorExit:
            turn.end = "interrupt"
            raise
        except BaseException:
            self.decoder.clear()  # its cache may be half written
            turn.end = "interrupt"
            raise
        finally:
            self.messages = [*conversation, assistant_message(text.full_text)]
            turn.seconds = time.perf_counter() - start

    def sample(self, conversation: list[dict[str, Any]], room: int) -> Iterator[int]:
        """The tokens of an answer after the tokens that were read.

        The n-th answer to a conversation is the n-th sample that
        `experiments.generate` draws for it.
        """
        settings = self.settings
        params = SamplingParams(
            max_new_tokens=min(settings.max_new_tokens, room),
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            stop_tokens=self.policy.stop_tokens,
            logit_bias=settings.logit_bias,
            once_tokens=settings.once_tokens,
        )
        prompt_id = streams.prompt_id(conversation)
        repeat = self.answered.get(prompt_id, 0)
        self.answered[prompt_id] = repeat + 1
        row_id = streams.answer_ids([prompt_id], repeat + 1)[-1]
        key = streams.key(jax.random.key(settings.seed), ANSWER_STREAM)
        return self.decoder.generate(params, key, row_id)
