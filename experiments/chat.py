"""Talk to a model in the terminal; its answers appear as they are made.

    python -m experiments.chat --model runs/sft/policy
    python -m experiments.chat --model FOLDER --system-prompt "Be brief."
    echo "What is 2 + 2?" | python -m experiments.chat --model FOLDER

Each line is a message; a line that begins with / is a command (//text sends /text):

    /reset            begin a new conversation; the system prompt stays
    /system TEXT      set the system prompt; without a text there is none
    /regenerate       another answer to the last message
    /temperature X    0 is greedy
    /save FILE        add the conversation to a file of JSON lines, for --data
    /help             the commands
    /quit             end; so does Ctrl-D

A model with the token [RESET] may take back what it has begun to say: a line says so,
and the answer begins anew. Ctrl-C stops the answer, which stays in the conversation as
far as it came. All turns share one KV cache: of each turn only the tokens after those
that the cache holds are read. The first answer takes longer, while its programs are
compiled. The answers are those of `experiments.generate` with the same --seed and
flags. Without a terminal, only answers are written, one after the other.
"""

import contextlib
import dataclasses
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import jax

from jaxalign.data import special_tokens
from jaxalign.data.text_stream import Retraction
from jaxalign.pipeline import resets
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation.chat_session import (
    ChatSession,
    ChatSettings,
    visible_text,
)
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.runtime import flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import Dtype

Write = Callable[[str], object]
HELP = (
    "/reset  /system TEXT  /regenerate  /temperature X  /save FILE  /help  /quit; "
    "Ctrl-C stops an answer, Ctrl-D ends"
)
RETRACTED = "\n[taken back: the answer begins anew]\n"
ENDS = {
    "length": "stopped after {max_new_tokens} tokens: --max-new-tokens",
    "context": "the context of {context} tokens is full: /reset begins a new "
    "conversation",
    "interrupt": "stopped",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """A chat with a model."""

    RANGES: ClassVar = {"reset_bias": flags.ANY}
    model: str
    """A Hugging Face folder (every run writes one) or ORG/NAME of a hub."""
    system_prompt: str = ""
    """The system prompt at the beginning."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy."""
    top_p: float | None = None
    """Sample from the fewest most likely tokens of this total probability."""
    top_k: int | None = None
    """Sample from this many most likely tokens."""
    max_new_tokens: int = 512
    """Tokens of the longest answer."""
    reset_bias: float = 0.0
    """Of a model with the token [RESET]: what is added to its logit, in nats; lower is
    fewer answers that are taken back."""
    seed: int = 0
    """Seed of the sampling."""
    context: int | None = None
    """Longest conversation in tokens; by default the model's own, up to 4,096."""
    dtype: Dtype = "float32"
    """The type of the model's computation."""
    mesh: str = ""
    """Devices on each mesh axis, such as tensor=4; by default one device."""
    template_date: str = ""
    """The date, YYYY-MM-DD, for chat templates that show one; by default today's."""
    keep_special_tokens: bool = False
    """Show special tokens that neither begin nor end turns."""
    compilation_cache: str | None = None
    """A folder that keeps compiled programs from one start to the next, or off; by
    default JAX_COMPILATION_CACHE_DIR, or a cache folder of the user's."""


def main(
    config: Config, lines: Iterable[str] | None = None, write: Write | None = None
) -> ChatSession:
    """Reads messages and commands until they end, and writes answers.

    Args:
      lines: by default of the terminal, or of standard input.
      write: shows a piece of text; by default on standard output.

    Returns:
      The session, with the conversation.
    """
    write = write or print_now
    evaluation = EvaluationConfig(**shared_fields(config, EvaluationConfig))
    mesh = evaluation_models.evaluation_mesh(evaluation) if config.mesh else None
    with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
        policy = evaluation_models.load_policy(evaluation, config.model, mesh)
        settings = ChatSettings(
            **shared_fields(config, ChatSettings),
            **resets.reset_options(policy, bias=config.reset_bias),
        )
        session = ChatSession(policy, settings, config.system_prompt)
        is_terminal = lines is None and sys.stdin.isatty()
        if is_terminal:
            write(f"{config.model}, context {policy.context} tokens. {HELP}\n")
        for line in read_terminal() if is_terminal else lines or sys.stdin:
            if line.strip() == "/quit":
                break
            try:
                respond(session, line.rstrip("\n"), write, status=is_terminal)
            except (ValueError, OSError) as error:
                write(f"[{error}]\n")
    return session


def shared_fields(config: Config, kind: type) -> dict[str, Any]:
    """The values of the flags that are fields of another dataclass, too."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {k: v for k, v in dataclasses.asdict(config).items() if k in names}


def print_now(text: str) -> None:
    """Prints text without a line break, at once."""
    print(text, end="", flush=True)


def read_terminal() -> Iterator[str]:
    """Lines that are typed, until Ctrl-D; Ctrl-C drops a line."""
    with contextlib.suppress(ImportError):  # line editing, where there is one
        import readline  # noqa: F401
    signal.signal(signal.SIGINT, signal.default_int_handler)
    while True:
        try:
            yield input("> ")
        except KeyboardInterrupt:
            print("\n[Ctrl-D or /quit ends]")
        except EOFError:
            print()
            return


def respond(session: ChatSession, line: str, write: Write, *, status: bool) -> None:
    """Answers a message, or runs a command.

    Args:
      status: write the tokens and the speed of each answer.

    Raises:
      ValueError, OSError: a message or command that cannot be done; says why.
    """
    if not line.strip():
        return
    if not line.startswith("/") or line.startswith("//"):
        stream(session, session.send(line.removeprefix("/")), write, status=status)
        return
    command, _, argument = line.partition(" ")
    argument = argument.strip()
    if command == "/regenerate":
        stream(session, session.regenerate(), write, status=status)
    else:
        write(f"[{run_command(session, command, argument)}]\n")


def run_command(session: ChatSession, command: str, argument: str) -> str:
    """Runs a command that makes no answer; returns what it did.

    Raises:
      ValueError: no such command, or an argument that it does not take.
      OSError: a file that cannot be written.
    """
    if command == "/reset":
        session.reset()
        return "a new conversation"
    if command == "/system":
        session.set_system(argument)
        return "the system prompt is set" if argument else "no system prompt"
    if command == "/temperature":
        temperature = parse_temperature(argument)
        session.settings = dataclasses.replace(
            session.settings, temperature=temperature
        )
        return f"temperature {temperature:g}"
    if command == "/save":
        if not argument:
            raise ValueError("/save needs the name of a file")
        with open(argument, "a", encoding="utf-8") as file:
            file.write(json.dumps({"messages": session.messages}) + "\n")
        return f"{len(session.messages)} messages are added to {argument}"
    if command == "/help":
        return HELP
    raise ValueError(f"there is no command {command}: {HELP}")


def parse_temperature(text: str) -> float:
    """The number of /temperature.

    Raises:
      ValueError: not a number of 0 or more.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not flags.NOT_NEGATIVE.contains(value):
        raise ValueError(f"/temperature {text}: expected a number of 0 or more")
    return value


def stream(
    session: ChatSession,
    pieces: Iterator[str | Retraction],
    write: Write,
    *,
    status: bool,
) -> None:
    """Writes the pieces of an answer, and how it ended where the model did not end it.

    Ctrl-C stops the answer after its next token; a second one at once. Where nobody
    reads along, a model that may take back is written at the end of its answer.
    """
    may_retract = special_tokens.reset_id(session.policy.tokenizer) is not None
    with interrupts(session), contextlib.suppress(KeyboardInterrupt):
        if may_retract and not status:
            write(visible_text(pieces))
        for piece in pieces:
            write(RETRACTED if isinstance(piece, Retraction) else piece)
    write("\n")
    turn = session.turn
    if turn is None:
        return
    if turn.end in ENDS:
        limits = {
            "max_new_tokens": session.settings.max_new_tokens,
            "context": session.policy.context,
        }
        write(f"[{ENDS[turn.end].format(**limits)}]\n")
    if status:
        write(
            f"[{turn.tokens} tokens, {turn.tokens / turn.seconds:.1f} a second; read "
            f"{turn.prefilled} of {turn.prompt} tokens of the conversation]\n"
        )


@contextlib.contextmanager
def interrupts(session: ChatSession) -> Iterator[None]:
    """A context in which Ctrl-C stops the session's answer, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        if session.should_stop:
            raise KeyboardInterrupt
        session.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    launch(main, Config)
