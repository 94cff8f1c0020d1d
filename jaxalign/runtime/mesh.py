"""The device mesh of a run."""

from jax.sharding import Mesh

from jaxalign import sharding
from jaxalign.runtime import flags
from jaxalign.runtime.config import RunConfig


def mesh_of(config: RunConfig) -> Mesh:
    """The device mesh that a run asked for.

    Raises:
      ValueError: names the flag; devices are lacking, or would be left out.
    """
    try:
        return sharding.make_mesh(flags.parse_mesh(config.mesh))
    except ValueError as error:
        raise ValueError(f"--mesh {config.mesh}: {error}") from error
