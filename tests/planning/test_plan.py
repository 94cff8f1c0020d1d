"""Plans: bytes, operations and communication by hand, and against what truly runs."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as Spec

from experiments import plan
from jaxalign import sharding
from jaxalign.batches import Branches
from jaxalign.models import transformer
from jaxalign.planning import abstract, chips, flops, hlo_counts, measure, programs
from jaxalign.training import state

MESH = "data=2,fsdp=2,tensor=2"
TINY = plan.Config(
    model="tiny", mesh=MESH, batch=8, length=32, dtype="float32", remat="none"
)


def test_matrix_products_by_hand():
    def looped(x, w, n):
        x = jax.lax.scan(lambda x, _: (x @ w, None), x, length=5)[0]
        x = jax.lax.fori_loop(0, 7, lambda _, x: x @ w, x)  # a scan, as 7 is known
        x = jax.lax.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] @ w), (n, x)
        )
        return jax.lax.cond(n > 0, lambda x: x @ w, lambda x: x, x[1])

    traced = jax.jit(looped).trace(jnp.ones((4, 8)), jnp.ones((8, 8)), jnp.int32(0))
    # one product is 2 * 4 * 8 * 8 operations: 5 + 7 + 3 + 1 of them
    assert hlo_counts.matmul_flops(traced.jaxpr.jaxpr) == 16 * 2 * 4 * 8 * 8


@pytest.mark.parametrize("remat", ["none", "full"])
def test_a_step_is_three_forward_passes_and_remat_a_fourth(remat):
    shape = dataclasses.replace(TINY.shape(), remat=remat)
    traced = programs.update(programs.StepModels(TINY, shape, plan.mesh_of(TINY)))
    rows, length = TINY.batch, TINY.length
    head = 2 * shape.vocab_size * shape.width * rows * (length - 1)
    # one block of queries sees every key: all of attention, not half of it
    layers = flops.forward_flops(shape, rows, length, head=False, keys_per_token=length)
    # going backward, the logits of each chunk come again; with remat, layers do, but
    # for their last product, which nothing within them reads
    by_hand = 3 * layers + 4 * head
    if remat == "full":
        last = 2 * rows * length * shape.hidden * shape.width
        by_hand += layers - shape.layers * last
    assert hlo_counts.matmul_flops(traced.jaxpr.jaxpr) == by_hand


def test_communication_of_sharded_products_by_hand():
    mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
    put = lambda shape, *names: jax.ShapeDtypeStruct(
        shape, jnp.float32, sharding=NamedSharding(mesh, Spec(*names))
    )
    whole = NamedSharding(mesh, Spec("fsdp", None))

    def summed(x, w):  # the inner axis is cut over 2: partial sums are added up
        return jax.lax.with_sharding_constraint(x @ w, whole)

    def gathered(x, ws):  # each weight is cut over 4, and gathered to be used, 3 times
        def layer(x, w):
            w = jax.lax.with_sharding_constraint(w, NamedSharding(mesh, Spec()))
            return jnp.tanh(x @ w), None

        return jax.lax.scan(layer, x, ws)[0]

    def sent(function, *given):
        return measure.compile_and_measure(
            lambda: jax.jit(function).trace(*given), mesh
        ).collectives

    x, w = put((64, 32), "fsdp", "tensor"), put((32, 16), "tensor", None)
    (one,) = sent(summed, x, w)
    # each device ends up with [16 16] in float32; a ring of 2 sends it 2 * 1/2 times
    assert (one.kind, one.times, one.total) == ("all-reduce", 1, 16 * 16 * 4)
    assert one.groups.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert (
        one.cross_domain_fraction(domain=2) == 0
        and one.cross_domain_fraction(domain=1) == 1
    )
    x, w = put((64, 32), "fsdp", None), put((3, 32, 32), None, "fsdp", None)
    (one,) = sent(gathered, x, w)
    # [32 32] in a ring of 4: three quarters of it
    assert (one.kind, one.times, one.sent) == ("all-gather", 3, 32 * 32 * 4 * 3 / 4)
    assert one.groups.tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
    # in two domains of four, two devices of each share what the other two have
    assert (
        one.cross_domain_fraction(domain=4) == 1 / 3
        and one.cross_domain_fraction(domain=8) == 0
    )


@pytest.mark.parametrize(
    "kind, sent", [("all-gather", 24), ("all-reduce", 48), ("reduce-scatter", 96)]
)
def test_rings_by_hand(kind, sent):
    # a result of 32 bytes in rings of 4: gathered, 3 parts of 8 bytes pass through each
    # device; reduced, twice as many; scattered, 3 parts as large as the result
    line = f"%x = f32[8]{{0}} {kind}(%y), channel_id=1, replica_groups=[2,4]<=[8]"
    text = f"HloModule m\n\nENTRY %main (y: f32[8]) -> f32[8] {{\n  {line}\n}}\n"
    (one,) = hlo_counts.collectives(text, 8)
    assert one.total == sent


def test_unread_groups_are_refused():
    with pytest.raises(ValueError, match="parts of a mesh axis"):
        hlo_counts.replica_groups("replica_groups=mesh['a'=4,'b'=2] {'a':(1)2}", 8)


@pytest.fixture(scope="module")
def placed():
    """The state that a run would have."""
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    model = transformer.language_model(TINY.shape())
    params = model.init(jax.random.key(0), mesh)
    return state.create(params, programs.adamw(), jax.random.key(0))


def test_states_lie_as_those_that_are_made(placed):
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    base = abstract.parameters(transformer.language_model(TINY.shape()), mesh)
    planned = abstract.train_state(base, programs.adamw(), mesh)
    assert jax.tree.structure(planned) == jax.tree.structure(placed)
    for here, there in zip(
        jax.tree.leaves(planned), jax.tree.leaves(placed), strict=True
    ):
        assert (here.shape, here.dtype) == (there.shape, there.dtype)
        assert here.sharding.is_equivalent_to(there.sharding, there.ndim)


@pytest.mark.slow
def test_bytes_by_role(placed):
    found = plan.plan_step(TINY)
    on_first = lambda tree: sum(
        leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree)
    )
    assert found.roles["parameters"] == on_first(placed.params)
    assert found.roles["optimizer"] == on_first(placed.opt_state)
    # by hand: matrices are cut over fsdp * tensor = 4, but for those of the one head of
    # keys and values, which is cut over fsdp = 2; norms are whole
    shape = TINY.shape()
    norms = (2 * shape.layers + 1) * shape.width
    one_head = 2 * shape.layers * shape.width * shape.head_dim
    parameters = 4 * (
        (flops.matmul_params(shape) - one_head) / 4 + one_head / 2 + norms
    )
    assert found.roles["parameters"] == parameters
    # two moments, and Adam's and the schedule's counters
    assert found.roles["optimizer"] == 2 * parameters + 8
    assert found.transient["update"]["gradients"] == parameters
    # XLA's arguments: parameters, moments, batch, the step, and the key of two words
    with jax.set_mesh(plan.mesh_of(TINY)):
        traced = programs.update(programs.StepModels(TINY, shape, plan.mesh_of(TINY)))
        memory = traced.lower().compile().memory_analysis()
    names = ("parameters", "optimizer", "batch")
    given = sum(found.roles[name] for name in names) + 4 + 8
    assert memory.argument_size_in_bytes == given
    within = sum(found.transient["update"].values())
    kept = sum(found.roles.values())
    assert found.peak == kept + within


@pytest.mark.slow
def test_depth_is_extended_from_two_and_four_layers():
    work = dataclasses.replace(TINY, algorithm="grpo", reward="programmed")
    mesh = plan.mesh_of(work)
    deep = dataclasses.replace(work.shape(), layers=7)
    sample = programs.programs(work, mesh)[0]
    extended = measure.program_cost(sample, deep, mesh)
    true = measure.compile_and_measure(lambda: sample.trace(deep), mesh)
    assert extended.flops == true.flops
    assert extended.accessed == true.accessed
    np.testing.assert_allclose(extended.sent(), true.sent(), rtol=1e-6)
    # buffers are packed anew at each depth, which shows in so small a model
    np.testing.assert_allclose(extended.temporaries, true.temporaries, rtol=0.1)


@pytest.mark.slow
def test_plans_of_ppo_with_adapters(tmp_path):
    out = tmp_path / "plan.json"
    work = dataclasses.replace(TINY, algorithm="ppo", lora_rank=4, out=out)
    values = plan.main(work)
    assert json.loads(out.read_text()) == values
    size = values["bytes"]
    # factors of rank 4, far smaller than what they adapt, and a head of 64 + 1 numbers
    assert size["value"] == size["parameters"] + 4 * 65
    assert size["parameters"] < size["reference"] / 4
    shape, rows = TINY.shape(), TINY.batch
    # keys and values of every layer, rows cut over 4; its one head is not cut; and the
    # lengths
    slots = 2 * shape.layers * rows * 32 * shape.kv_heads * shape.head_dim
    assert size["within"]["sample"]["KV cache"] == 4 * slots / 4 + 4 * rows / 4
    assert values["programs"]["update"]["times"] == 1
    for chip in values["chips"].values():
        seconds = chip["seconds"]
        assert chip["fits"] and 0 < seconds["compute"] < seconds["step"]


def test_answers_to_a_prompt_have_it_in_the_cache_once():
    """Two prompts with four answers each, over four parts: each is read twice."""
    work = dataclasses.replace(TINY, algorithm="grpo", samples=4)
    shape = work.shape()
    held = programs.StepModels(work, shape, plan.mesh_of(work)).kv_cache()
    slots = lambda cache: sum(x.size for x in (*cache.keys, *cache.values))
    per_slot = 2 * shape.layers * shape.kv_heads * shape.head_dim
    assert slots(held.prefix) == 4 * work.prompt_length * per_slot
    assert slots(held) == 8 * (work.length - work.prompt_length) * per_slot


@pytest.mark.parametrize("asked", [1, 16])
def test_only_answers_of_one_prompt_a_row_are_known_to_be_laid_out(asked):
    """Rows of pairs come from a packer, and may hold several prompts."""
    work = dataclasses.replace(TINY, algorithm="grpo", samples=4, prompt=asked)
    models = lambda work: programs.StepModels(work, work.shape(), plan.mesh_of(work))
    of_group = programs.answers(models(work)).sequences
    assert of_group.branches == (Branches(15, 2) if asked > 1 else None)
    pairs = programs.pairs(models(dataclasses.replace(work, algorithm="dpo")))
    assert pairs.sequences.branches is None


def test_floors_by_hand():
    gather = hlo_counts.Collective("all-gather", 6e9, np.array([[0, 1], [2, 3]]), 2)
    one = measure.ProgramCost(8e12, 0.0, 3e9, [gather])
    found = plan.Plan(4, {"parameters": 1}, {"update": {}}, {"update": (2, one)}, 0.0)
    chip = chips.Chip("x", 1e12, 1e9, 1.0, 4e9, 2, 1e9)
    # twice: 8e12 / 4 devices / 1e12 = 2 s; 3 s; 12e9 / 4e9 = 3 s within pairs
    floor = found.floor(chip)
    assert floor == {"compute": 4.0, "memory": 6.0, "communication": 6.0, "step": 6.0}
    # where no two chips are linked, 12 s twice
    assert found.floor(dataclasses.replace(chip, domain=1))["communication"] == 24.0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="8 rows are not divisible|10 rows"):
        plan.main(dataclasses.replace(TINY, batch=10))
    with pytest.raises(ValueError, match="is no folder"):
        plan.main(dataclasses.replace(TINY, model="llama-9"))
    with pytest.raises(ValueError, match="unknown chip"):
        plan.main(dataclasses.replace(TINY, chips=("v9",)))


@pytest.mark.slow
def test_one_command_for_more_devices_than_there_are():
    command = "-m experiments.plan --model tiny --mesh fsdp=16 --batch 16 --length 16"
    done = subprocess.run(
        [sys.executable, *command.split(), "--chips", "v5e"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "gradients" in done.stdout and "v5e" in done.stdout
