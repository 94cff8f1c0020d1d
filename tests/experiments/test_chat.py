"""experiments.chat: piped conversations, commands, Ctrl-C, and what is refused."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import chat
from jaxalign.data import special_tokens
from jaxalign.data.text_stream import Retraction
from jaxalign.pipeline.evaluation.chat_session import ChatSession, ChatSettings
from tests.support import untrained
from tests.support.spelling_model import spelling_policy

TEXT = "né: €日!"


@pytest.fixture
def talk(monkeypatch):
    """Runs the program on lines with a model that spells `TEXT`; returns its output."""
    load = lambda *_: spelling_policy(TEXT, context=64)
    monkeypatch.setattr(chat.evaluation_models, "load_policy", load)

    def run(*lines, **flags):
        written = []
        session = chat.main(
            chat.Config(model="m", temperature=0.0, **flags), lines, written.append
        )
        return "".join(written), session

    return run


def test_messages_and_commands(talk, tmp_path):
    file = tmp_path / "saved.jsonl"
    text, session = talk(
        *("Hi\n", "\n", "/temperature 0.5\n", "/temperature 0\n", "/regenerate\n"),
        *(f"/save {file}\n", "/system Be brief.\n", "/reset\n", "//x\n", "/quit\n"),
        "never sent\n",
    )
    assert text.splitlines() == [
        TEXT,
        "[temperature 0.5]",
        "[temperature 0]",
        TEXT,
        f"[2 messages are added to {file}]",
        "[the system prompt is set]",
        "[a new conversation]",
        TEXT,
    ]
    saved = json.loads(file.read_text())["messages"]
    assert [m["content"] for m in saved] == ["Hi", TEXT]
    assert [m["content"] for m in session.messages] == ["Be brief.", "/x", TEXT]


@pytest.mark.parametrize(
    "line, message",
    [
        ("/foo", "there is no command /foo: /reset"),
        ("/temperature -1", "/temperature -1: expected a number of 0 or more"),
        ("/temperature nan", "/temperature nan: expected"),
        ("/save", "/save needs the name of a file"),
        ("/regenerate", "there is no answer to make again"),
        ("a <|end|>", "the text holds the special token '<|end|>'"),
        ("y" * 70, "the conversation has 73 tokens, and the context 64: /reset begins"),
        ("/save /nowhere/at/all", "No such file"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_chat_goes_on(talk, line, message):
    text, session = talk(line, "Hi")
    first, second = text.splitlines()
    assert message in first and second == TEXT
    assert len(session.messages) == 2


def test_limits_are_said(talk):
    text, _ = talk("Hi", max_new_tokens=3)
    assert text == "né\n[stopped after 3 tokens: --max-new-tokens]\n"
    # 3 tokens around 55 letters: 6 of the context of 64 remain, n é : blank and half €
    text, _ = talk("y" * 55)
    assert text.splitlines()[0].startswith("né:")
    assert "[the context of 64 tokens is full: /reset begins a new" in text


def test_ctrl_c_stops_the_answer_after_its_token():
    session = ChatSession(spelling_policy(TEXT), ChatSettings(temperature=0.0))
    written = []

    def write(text):
        written.append(text)
        if text == "é":
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    chat.respond(session, "Hi", write, status=True)
    assert signal.getsignal(signal.SIGINT) is before
    assert "".join(written).startswith("né\n[stopped]\n[3 tokens, ")
    assert session.messages[-1]["content"] == "né"


@pytest.mark.parametrize("kind", ["nothing", "reward"])
def test_a_folder_that_is_no_language_model(tmp_path, kind):
    if kind == "reward":
        untrained.save_reward(tmp_path / "reward")
    message = "no such folder" if kind == "nothing" else "is a reward model"
    with pytest.raises((ValueError, OSError), match=message):
        chat.main(chat.Config(model=str(tmp_path / kind)), ["Hi"], print)


def test_standard_input_is_read_and_the_answers_alone_are_printed(
    talk, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\n/temperature 0\n"))
    chat.main(chat.Config(model="m", temperature=0.0))
    assert capsys.readouterr().out == f"{TEXT}\n[temperature 0]\n"


@pytest.mark.slow
def test_standard_input_and_output_of_the_command(tmp_path):
    """A pipe: answers alone on standard output, in UTF-8, and status 0 at its end."""
    folder = untrained.save(tmp_path / "policy")
    done = subprocess.run(
        [sys.executable, "-m", "experiments.chat", "--model", str(folder)]
        + ["--temperature", "0", "--max-new-tokens", "4"],
        input="Hi\n/help\n",
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("[/reset  /system TEXT")
    assert ">" not in done.stdout.splitlines()[0]


def test_what_a_model_takes_back_is_not_in_the_output(talk, monkeypatch):
    spelling = f"fi{special_tokens.RESET}no"
    policy = spelling_policy(spelling, context=64, added=special_tokens.RESET)
    monkeypatch.setattr(chat.evaluation_models, "load_policy", lambda *_: policy)
    text, session = talk("Hi\n")
    assert text == "no\n"
    assert session.turn.discarded == 3  # f, i, [RESET]
    # its logit is 20, as others' are 0
    text, session = talk("Hi\n", reset_bias=-100.0, max_new_tokens=3)
    assert text.startswith("fi") and session.turn.discarded == 0
    written = []
    chat.stream(
        session, iter(["f", Retraction("f"), "no"]), written.append, status=True
    )
    assert written[:3] == ["f", chat.RETRACTED, "no"]
