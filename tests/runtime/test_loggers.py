"""Loggers receive every step, and none of them ends a run."""

import importlib.util
import json
import struct
import time

import pytest
from tensorboardX.proto.event_pb2 import Event

from jaxalign.runtime import loggers
from jaxalign.training import metrics, tensorboard
from tests.support import small_runs

ROWS = [
    {"prompt": "2|2", "answer": "a\nb", "reward": 1.0, "advantage": None},
    {"prompt": "2|2", "answer": "<c>", "reward": 0.25, "advantage": -0.5},
]


class Recorder:
    """A logger that keeps what it is given, and fails where told."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.calls = fails, []

    def receive(self, name, *given):
        self.calls.append((name, *given))
        if name == self.fails:
            raise ConnectionError("no route\nto host")

    def log(self, step, metrics):
        self.receive("log", step, dict(metrics))

    def text(self, step, rows):
        self.receive("text", step, rows)

    def close(self):
        self.receive("close")


def opened(folder, log, *others, resumed=None, said=None):
    said = [] if said is None else said
    group = loggers.Loggers(log, others, say=said.append)
    group.open(loggers.RunInfo(folder, "grpo", {"seed": 0}, resumed))
    return group


def test_a_function_and_an_object_receive_what_is_logged(tmp_path):
    seen, recorder = [], Recorder()
    group = opened(tmp_path, "none", lambda *given: seen.append(given), recorder)
    group.log(3, {"loss": 0.5})
    group.text(3, ROWS)
    group.close()
    group.close()  # which is done
    assert seen == [(3, {"loss": 0.5})]
    assert recorder.calls == [("log", 3, {"loss": 0.5}), ("text", 3, ROWS), ("close",)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", ["log", "text", "close"])
def test_a_logger_that_fails_is_warned_of_once_and_dropped(tmp_path, fails):
    said, broken, sound = [], Recorder(fails), Recorder()
    group = opened(tmp_path, "none", broken, sound, said=said)
    for step in (0, 1):
        group.log(step, {"loss": 1.0})
        group.text(step, ROWS)
    group.close()
    assert [call[0] for call in broken.calls].count(fails) == 1
    assert len(sound.calls) == 5
    (warning,) = said
    assert "Recorder" in warning and "ConnectionError: no route to host" in warning


def test_a_logger_that_cannot_be_opened_is_off(tmp_path, monkeypatch):
    def refuse(run):
        raise OSError("no network")

    monkeypatch.setitem(loggers.LOGGERS, "lab", loggers.NamedLogger("json", "", refuse))
    said = []
    group = opened(tmp_path, "lab, tensorboard", said=said)
    group.log(0, {"loss": 1.0})
    group.close()
    assert said == [
        "warning: --log lab is off from now on (OSError: no network); the run goes "
        "on, and metrics.jsonl has every step"
    ]
    assert len(list(tmp_path.glob("events.out.*"))) == 1


@pytest.mark.parametrize(
    "log, message",
    [
        ("tensorbord", "unknown logger .*did you mean tensorboard"),
        ("tensorboard,", "unknown logger .*expected one of tensorboard, wandb, none"),
        ("tensorboard,none", "none stands alone"),
    ],
)
def test_an_unknown_name_is_refused(log, message):
    with pytest.raises(ValueError, match=f"--log {log}: {message}"):
        loggers.Loggers(log, say=print)


def test_a_package_that_is_missing_is_named(monkeypatch):
    missing = loggers.NamedLogger("no_such_package", "lab", lambda run: Recorder())
    monkeypatch.setitem(loggers.LOGGERS, "lab", missing)
    with pytest.raises(ValueError, match=r"no_such_package: pip install 'jaxalign\[la"):
        loggers.Loggers("lab", say=print)


def test_a_single_function_needs_no_list_and_is_named_in_the_warning(tmp_path):
    def show(step, metrics):
        raise KeyError("loss")

    said = []
    group = loggers.Loggers("none", show, say=said.append)
    group.open(loggers.RunInfo(tmp_path, "grpo", {"seed": 0}, None))
    group.log(0, {"eval/loss": 0.5})
    assert len(said) == 1 and "show is off from now on (KeyError: 'loss')" in said[0]


def test_what_is_no_logger_is_refused():
    with pytest.raises(ValueError, match="loggers: 'wandb' is neither a function of"):
        loggers.Loggers("none", ["wandb"], say=print)


def events(folder):
    """The events of a folder's TensorBoard files: records between lengths and CRCs."""
    found = []
    for path in sorted(folder.glob("events.out.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + size]))
            at += size + 16
    return found


def test_tensorboard_has_scalars_and_a_table_of_samples(tmp_path):
    group = opened(tmp_path, "tensorboard", resumed=2)
    group.log(2, {"loss": 0.5, "eval/kl": 2})
    group.text(2, ROWS)
    group.close()
    found = events(tmp_path)
    assert [e.step for e in found if e.HasField("session_log")] == [2]
    values = {v.tag: (e.step, v) for e in found for v in e.summary.value}
    assert values["loss"][0] == 2 and values["loss"][1].simple_value == 0.5
    assert values["eval/kl"][1].simple_value == 2
    (text,) = [v for tag, (_, v) in values.items() if tag.startswith("samples")]
    assert text.tensor.string_val[0].decode().splitlines() == [
        "| prompt | answer | reward | advantage |",
        "| --- | --- | --- | --- |",
        "| 2&#124;2 | a<br>b | 1 |  |",
        "| 2&#124;2 | &#60;c&#62; | 0.25 | -0.5 |",
    ]


def test_cells_of_markdown_have_no_markup():
    assert tensorboard.escape_cell("*a*`b`[c]") == ("&#42;a&#42;&#96;b&#96;&#91;c&#93;")


def wandb_records(path):
    """The records of W&B's file: a header of 7 bytes, then LevelDB's log format.

    In blocks of 32,768 bytes, of which a rest of less than 7 is left out; a piece of a
    record has a CRC, its size and its type: 1 a whole record, 4 the last piece of one.
    """
    from wandb.proto import wandb_internal_pb2

    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        if at + 7 + size > len(data):
            return  # it is being written
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


needs_wandb = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None,
    reason="wandb is not installed: pip install 'jaxalign[wandb]'",
)


@pytest.fixture
def offline(monkeypatch):
    """W&B writes files, and sends nothing."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_PROJECT", "tests")


def wandb_history(folder):
    """The logged values by step, JSON texts by name, of all W&B's runs of a folder.

    W&B's process writes its files after the run has ended, too: this waits for them.
    """
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    limit = time.monotonic() + 30
    ended = lambda path: any(x.HasField("exit") for x in wandb_records(path))
    while not all(map(ended, files)) and time.monotonic() < limit:
        time.sleep(0.1)
    history = {}
    for path in files:
        for record in wandb_records(path):
            if record.HasField("history"):
                items = record.history.item
                row = {x.key or "/".join(x.nested_key): x.value_json for x in items}
                history.setdefault(record.history.step.num, {}).update(row)
    return history


@needs_wandb
def test_wandb_offline_has_metrics_settings_and_samples(tmp_path, offline):
    said = []
    for resumed, step in ((None, 0), (1, 1)):
        if resumed:
            time.sleep(1)  # W&B's folders are named by the second
        group = opened(tmp_path, "wandb", resumed=resumed, said=said)
        group.log(step, {"loss": 0.5 + step})
        group.text(step, ROWS)
        group.close()
    assert said == []
    history, runs = wandb_history(tmp_path), set()
    for path in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")):
        for record in wandb_records(path):
            if record.HasField("run"):
                runs.add((record.run.run_id, record.run.project, record.run.job_type))
                settings = {x.key: x.value_json for x in record.run.config.update}
                assert settings["seed"] == "0"
    # a resumed run is the same one of W&B
    assert runs == {((tmp_path / "wandb_id").read_text(), "tests", "grpo")}
    assert [json.loads(history[step]["loss"]) for step in (0, 1)] == [0.5, 1.5]
    assert [history[step]["samples/nrows"] for step in (0, 1)] == ["2", "2"]
    (table, _) = tmp_path.glob("wandb/offline-run-*/files/media/table/*.json")
    written = json.loads(table.read_text())
    assert written["columns"] == list(ROWS[0])
    assert written["data"] == [list(row.values()) for row in ROWS]


@needs_wandb
@pytest.mark.slow
def test_a_run_in_wandb_has_what_metrics_jsonl_has(tmp_path, offline):
    """Every number of every step, rewards by name too; and the table of samples."""
    base = small_runs.prepare(tmp_path / "base")
    flags = {"steps": 2, "minibatches": 1, "mesh": "data=1", "log": "tensorboard,wandb"}
    flags |= {"reward": "length:4=1,format=0.5", "show_samples_every": 1}
    pairs = [f"{key}={value}" for key, value in flags.items()]
    module, config = small_runs.experiment_config(base, tmp_path / "a", "grpo", pairs)
    module.main(config)
    history = wandb_history(config.out)
    for line in metrics.read_log(config.out):
        logged = history[line["step"]]
        for name, value in line.items():
            if name != "step":
                assert json.loads(logged[name]) == pytest.approx(value), name
    assert "rewards/length:4/std" in history[1] and "tokens_per_second" in history[1]
    tables = config.out.glob("wandb/offline-run-*/files/media/table/samples_1_*.json")
    (table,) = map(json.loads, (path.read_text() for path in tables))
    assert {"prompt", "answer", "length:4", "format"} <= set(table["columns"])
