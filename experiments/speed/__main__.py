"""Speed of jaxalign: one of four measurements, each with flags of its own.

    python -m experiments.speed --measurement device --device.models tiny
    python -m experiments.speed --measurement scaling --scaling.points 3

device    seconds per step at Llama shapes on this machine's accelerator
peers     seconds per step beside TRL's and transformers', on the same workload
scaling   growth of operations and memory with length, batch, vocabulary and samples
tokenize  tokens per second from a file to disk, beside `tokenizers` itself

Each is a program too, whose flags have no prefix: `python -m experiments.speed.device
--models tiny`. The docstring of each says what it measures and what was seen.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from experiments.speed import device, peers, scaling, tokenize
from experiments.speed.device import Config as DeviceConfig
from experiments.speed.peers import Config as PeersConfig
from experiments.speed.scaling import Config as ScalingConfig
from experiments.speed.tokenize import Config as TokenizeConfig
from jaxalign.runtime import cli, flags

MEASUREMENTS: dict[str, Callable[[Any], Any]] = {
    "device": device.main,
    "peers": peers.main,
    "scaling": scaling.main,
    "tokenize": tokenize.main,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """The measurement, and the flags of each."""

    measurement: Literal["device", "peers", "scaling", "tokenize"] = "device"
    """The measurement to make."""
    device: DeviceConfig = DeviceConfig()
    peers: PeersConfig = PeersConfig()
    scaling: ScalingConfig = ScalingConfig()
    tokenize: TokenizeConfig = TokenizeConfig()


def main(config: Config) -> Any:
    """Makes the measurement, prints it and returns its numbers."""
    return MEASUREMENTS[config.measurement](getattr(config, config.measurement))


if __name__ == "__main__":
    cli.run_command(main, Config)
