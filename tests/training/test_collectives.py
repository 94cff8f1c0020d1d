"""What devices say to each other in compiled programs: what they must, and no more."""

import collections
import dataclasses
import re

import jax
import numpy as np
import optax
import pytest

from jaxalign import sampling, sharding
from jaxalign.models import transformer
from jaxalign.training import state, step
from tests.support import quick
from tests.training import mesh_cases

KEY = jax.random.key(0)
LARGE = dataclasses.replace(
    mesh_cases.CONFIG, width=64, hidden=128, layers=4, head_dim=16, vocab_size=512
)
# of a layer: queries and what attention gives, keys and values, gate and up, down
MATRICES = {(64, 64): 2, (64, 32): 2, (64, 128): 2, (128, 64): 1}
TABLES = {(512, 64), (64, 512)}
KINDS = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
CASES = [
    (name, shape)
    for name in ("sft", "reward", "dpo", "ppo", "group")
    for shape in ({"data": 8}, {"fsdp": 8}, {"tensor": 8})
]


def said(program: str) -> dict[str, list[tuple[int, ...]]]:
    """The shapes of what each kind of collective makes."""
    found: dict[str, list[tuple[int, ...]]] = {}
    line = rf"= (.*?) ({KINDS})(?:-start)?\("
    for made, kind in re.findall(line, program):
        shapes = re.findall(r"\w\[([\d,]*)\]", made)
        dims = [tuple(int(n) for n in x.split(",") if n) for x in shapes]
        found.setdefault(kind, []).extend(dims)
    return found


def compiled(case, mesh) -> str:
    """The train step, compiled for a mesh."""
    update = step.make_step(case.objective, optax.adam(1e-3))
    params = sharding.place(case.params, case.specs, mesh)
    with jax.set_mesh(mesh):
        begun = state.create(params, optax.adam(1e-3), KEY)
        batch = sharding.place_batch(case.batch, mesh)
        return update.lower(begun, batch).compile().as_text()


@pytest.mark.parametrize("name, shape", quick.only([], CASES), ids=str)
def test_a_step_says_what_it_must(rows, pairs, unpaired, name, shape):
    case = mesh_cases.make_case(name, rows, pairs, unpaired, config=LARGE)
    found = said(compiled(case, sharding.make_mesh(shape)))
    gathered = found.pop("all-gather", [])
    reduced = found.pop("all-reduce", []) + found.pop("reduce-scatter", [])
    size = lambda shapes: sum(int(np.prod(x)) for x in shapes)
    weights = size(x.shape for x in jax.tree.leaves(case.params))
    models = 2 if name == "ppo" else 1
    answers = (1 if name in ("sft", "ppo", "group") else 2) * mesh_cases.ROWS
    if name == "reward" and shape == {"fsdp": 8}:
        # of the last layer, the ends of answers move, forth and back, not its weights
        ends = (answers, LARGE.width)
        moved = found.pop("all-to-all") + [x for x in gathered if x == ends]
        assert size(moved) <= 2 * size([ends])
        gathered = [x for x in gathered if x != ends]
    assert not found  # no rows, heads or words change their place
    if shape == {"tensor": 8}:
        # sums over heads and over hidden units, forth and back (Shoeybi et al. 2019,
        # arXiv:1909.08053, figure 4), of embeddings, and of a word's numbers
        assert not gathered
        assert not [x for x in reduced if LARGE.vocab_size in x]
        wide = [x for x in reduced if x[-1:] == (LARGE.width,)]
        assert 0 < len(wide) <= models * (4 * LARGE.layers + 2)
        assert size(reduced) - size(wide) < 4 * models * answers * LARGE.context
        return
    # each gradient is added up once, and with them a few numbers of the whole batch
    assert weights <= size(reduced) < weights + 100
    # whole matrices, of one layer, once on the way forth and once on the way back
    counts = collections.Counter(gathered)
    assert (len(counts) > 0) == (shape == {"fsdp": 8})
    assert set(counts) <= set(MATRICES) | TABLES
    for matrix, each in MATRICES.items():
        assert counts[matrix] <= 2 * each * LARGE.layers * models
    assert sum(counts[table] for table in TABLES) <= 2 * models


def computations(told):
    """The computations of compiled HLO by name, as their lines."""
    found = re.findall(r"^(?:ENTRY )?%?([\w.\-]+) \(.*?\{\n(.*?)^\}", told, re.M | re.S)
    return dict(found)


def reached(found, name):
    """What a computation does, with all that it calls."""
    body = found.pop(name, "")
    calls = re.findall(r"(?:body|condition|calls|to_apply)=%?([\w.\-]+)", body)
    return body + "".join(reached(found, call) for call in calls)


@pytest.mark.slow
def test_a_decoded_token_gathers_no_weights(rows):
    """They are gathered before the loop, in which devices have nothing to say."""
    model, mesh = transformer.language_model(LARGE), sharding.make_mesh({"fsdp": 8})
    batch = rows(8)
    settings = sampling.SamplingParams(max_new_tokens=4, stop_tokens=(3,))
    draw = lambda params, tokens, lengths: sampling.generate(
        model, params, tokens, lengths, KEY, settings
    )
    with jax.set_mesh(mesh):
        asked = (np.asarray(batch.tokens)[:, :8], np.full(8, 3, np.int32))
        placed = sharding.place_batch(asked, mesh)
        program = jax.jit(draw).lower(model.init(KEY, mesh), *placed).compile()
    told = program.as_text()
    bodies = re.findall(r" while\(.*body=%?([\w.\-]+)", told)
    found = computations(told)
    assert bodies and " all-gather(" in told and set(bodies) <= set(found)
    inside = "".join(reached(found, body) for body in bodies)
    assert not re.search(r" (all-gather|all-reduce|all-to-all)\(", inside)
