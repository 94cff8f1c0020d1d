"""The device mesh of a run."""

from jax.sharding import Mesh

from jaxalign import sharding
from jaxalign.runtime import flags
from jaxalign.runtime.config import RunConfig


def mesh_of(config: RunConfig) -> Mesh:
    """The device mesh of --mesh.

    Raises:
      ValueError: names the flag; there are too few devices, or devices without use.
    """
    try:
        return sharding.make_mesh(flags.parse_mesh(config.mesh))
    except ValueError as error:
        raise ValueError(f"--mesh {config.mesh}: {error}") from error
