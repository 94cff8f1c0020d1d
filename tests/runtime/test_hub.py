"""`--model ORG/NAME` and `--data ORG/NAME` are fetched: from a small hub on loopback.

The hub speaks what huggingface_hub asks: what a repository holds, and its files.
"""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import huggingface_hub
import pytest

from experiments import sft
from jaxalign.pipeline import model_cards
from jaxalign.runtime import defaults, hub
from tests.support import small_runs

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parents[2]


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves REPOSITORIES: by `models/ORG/NAME` or `datasets/ORG/NAME`, folders."""

    repositories: dict[str, Path] = {}
    asked: list[str] = []

    def log_message(self, *told):
        """Says nothing."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        path = self.path.partition("?")[0].strip("/")
        type(self).asked.append(path)
        for name, folder in self.repositories.items():
            files = sorted(p for p in folder.rglob("*") if p.is_file())
            names = [str(p.relative_to(folder)) for p in files]
            if path.startswith(f"api/{name}/tree/"):
                rows = [self.entry(p, n) for p, n in zip(files, names, strict=True)]
                return self.send(json.dumps(rows).encode(), body=body)
            if path.startswith(f"api/{name}"):
                siblings = [{"rfilename": each} for each in names]
                told = {"id": name.partition("/")[2], "sha": COMMIT, "private": False}
                told |= {"siblings": siblings, "downloads": 0, "likes": 0, "tags": []}
                return self.send(json.dumps(told).encode(), body=body)
            at = f"{name.removeprefix('models/')}/resolve/"
            if path.startswith(at):
                file = folder / path.removeprefix(at).partition("/")[2]
                if file.is_file():
                    return self.send(file.read_bytes(), body=body)
        self.send_error(404)

    def entry(self, path, name):
        digest = hashlib.sha1(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        return {"type": "file", "oid": digest, "size": size, "path": name}

    def send(self, data, *, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A hub with a model and a data set; what it was asked, and its environment."""
    folder = small_runs.prepare(tmp_path_factory.mktemp("hub"))
    model, rows = folder / "policy", folder / "rows"
    (model / "code.py").write_text("raise SystemExit('code was run')")
    (model / "pytorch_model.bin").write_bytes(b"a pickle")
    (model / "original").mkdir()
    (model / "original" / "weights.safetensors").write_bytes(b"the same again")
    lines = (folder / "pairs.jsonl").read_text().splitlines(keepends=True)
    (rows / "data").mkdir(parents=True)
    (rows / "data" / "train.jsonl").write_text("".join(lines[:48]))
    (rows / "data" / "test.jsonl").write_text("".join(lines[48:]))
    (rows / "rows.py").write_text("raise SystemExit('code was run')")
    Hub.repositories = {"models/org/tiny": model, "datasets/org/rows": rows}
    Hub.repositories |= {"datasets/org/none": model}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    place = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
    }
    yield place
    server.shutdown()
    server.server_close()
    thread.join()


def command(place, cwd, module, *told):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", *told],
        env=os.environ | place,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_model_and_data_are_fetched_by_name(served, tmp_path):
    told = ("--model", "org/tiny", "--data", "org/rows", "--steps", "1", "--batch", "2")
    ended = command(served, tmp_path, "sft", *told, "--out", "run")
    assert ended.returncode == 0, ended.stderr
    assert f"org/tiny: revision {COMMIT}" in ended.stdout
    assert (tmp_path / "run" / "policy" / "config.json").exists()
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (settings["model"], settings["data"]) == ("org/tiny", "org/rows")
    data = json.loads((tmp_path / "run" / "data.json").read_text())
    assert "48 rows" in ended.stdout and "16 rows" in ended.stdout, data
    files = [path for path in Path(served["HF_HOME"]).rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"model.safetensors", "tokenizer.json", "train.jsonl"} <= names
    # no code, no pickle, nothing twice
    assert not any(
        n.endswith((".py", ".bin")) or n == "weights.safetensors" for n in names
    )


@pytest.fixture
def inside(served, monkeypatch):
    """This process asks the hub, too; what was fetched is kept as in another's."""
    fetch = "import huggingface_hub as hub; hub.snapshot_download('org/tiny')"
    if not (Path(served["HF_HOME"]) / "hub" / "models--org--tiny").exists():
        subprocess.run([sys.executable, "-c", fetch], env=os.environ | served)
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", served["HF_ENDPOINT"])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", served["HF_HOME"] + "/hub")
    hub.download.cache_clear()
    yield monkeypatch
    hub.download.cache_clear()


def test_a_model_of_a_hub_has_the_defaults_of_what_it_began_as(inside):
    """Its learning rates are the toy's where its context is."""
    folder = hub.model_folder("org/tiny")
    there = json.loads((folder / "config.json").read_text())
    assert there["jaxalign_origin"] == "toy" and defaults.is_toy("org/tiny")
    rate = defaults.resolve(sft.Config(model="org/tiny")).learning_rate
    assert rate == defaults.resolve(sft.Config()).learning_rate


def test_stages_of_a_pipeline_name_the_base_as_the_hub_does(inside):
    """They are given the folder that it was fetched to."""
    config = sft.Config(model=str(hub.model_folder("org/tiny")))
    card = model_cards.model_card(config)
    assert 'base_model: "org/tiny"' in card and "--model org/tiny" in card
    assert "snapshots" not in card


def test_what_was_fetched_is_kept(inside):
    first = hub.model_folder("org/tiny")
    hub.download.cache_clear()
    inside.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub.model_folder("org/tiny") == first and (first / "config.json").exists()


@pytest.mark.parametrize(
    "kind, name, sentence",
    [
        (
            hub.model_folder,
            "org/absent",
            "hf download org/absent --local-dir models/absent",
        ),
        (
            hub.data_path,
            "org/absent",
            "hf download org/absent --repo-type dataset --local-",
        ),
        (hub.data_path, "org/none", r"--data org/none has no file of \*.parquet"),
    ],
)
def test_what_cannot_be_fetched_says_the_command_that_would(
    inside, kind, name, sentence
):
    with pytest.raises(ValueError, match=sentence):
        kind(name)


def test_without_a_network_the_sentence_is_one(served, tmp_path):
    away = served | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    ended = command(away, tmp_path, "inspect_data", "--model", "other/model")
    assert ended.returncode == 1
    assert "hf download other/model --local-dir models/model" in ended.stderr
    assert "then here: --model models/model" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_only_an_explicit_name_is_one_of_a_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert hub.is_name("org/name") and hub.is_name("Qwen/Qwen3-0.6B")
    # a slip in the name of a run is no reason to ask a network
    for local in ("runs/sfft", "./org/name", "/org/name", "org/name/policy", "toy"):
        assert not hub.is_name(local)
        assert hub.data_path(local) == local and hub.model_folder(local) == Path(local)
    for path in ("../x", "org/../x", "a.jsonl", "gs://bucket/x", "a=0.5,b=0.5", "org/"):
        assert not hub.is_name(path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert not hub.is_name("org/name") and hub.model_folder("org/name") == Path(
        "org/name"
    )
