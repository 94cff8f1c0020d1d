"""Published rates of accelerators: FLOP/s, memory, links."""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published rates of a chip.

    Attributes:
      kind: the prefix of JAX's `device_kind` for such a device.
      flops: dense bfloat16 operations per second.
      bandwidth: bytes per second of its memory.
      memory: bytes of its memory.
      link: bytes per second that it sends within its domain, all links together.
      domain: number of chips that those links connect: a node of GPUs, a pod of TPUs.
      network: bytes per second that it sends out of its domain.
      watts: thermal design power; None where none is published.
    """

    kind: str
    flops: float
    bandwidth: float
    memory: float
    link: float
    domain: int
    network: float
    watts: float | None = None


# TPUs: cloud.google.com/tpu/docs/v4, v5e, v5p and v6e. Interconnects are given there
# as bidirectional: half of it goes out. v4's is not given there: 6 links of 45e9 each
# way, after Austin et al. 2025, "How to Scale Your Model" (not looked up again).
# Networks between pods: v5e 6.4 Tbps a pod of 256; v5p 50 Gbps a chip; of v4 and v6e
# no number was found: v5e's.
# GPUs: NVIDIA's data sheets of the A100 (SXM, 80 GB), H100 (SXM) and H200 (not looked
# up again); NVLink is given for both directions. Networks: DGX A100 (8 x HDR 200 Gb/s),
# DGX H100 and H200 (8 x NDR 400 Gb/s), one port a GPU.
CHIPS = {
    "v4": Chip("TPU v4", 275e12, 1.2e12, 32 * GIB, 270e9, 4096, 3.1e9),
    "v5e": Chip("TPU v5 lite", 197e12, 0.819e12, 16e9, 200e9, 256, 3.1e9),
    "v5p": Chip("TPU v5", 459e12, 2.765e12, 95e9, 600e9, 8960, 6.25e9),
    "v6e": Chip("TPU v6 lite", 918e12, 1.638e12, 32e9, 400e9, 256, 3.1e9),
    "A100": Chip("NVIDIA A100-SXM4-80GB", 312e12, 2.039e12, 80e9, 300e9, 8, 25e9, 400),
    "H100": Chip("NVIDIA H100 80GB HBM3", 989e12, 3.35e12, 80e9, 450e9, 8, 50e9, 700),
    "H200": Chip("NVIDIA H200", 989e12, 4.8e12, 141e9, 450e9, 8, 50e9, 700),
}


def chip_of(kind: str) -> Chip | None:
    """The chip of a JAX `device_kind`; None where it is not listed.

    >>> chip_of("TPU v5 lite") == CHIPS["v5e"]
    True
    """
    matching = [chip for chip in CHIPS.values() if kind.startswith(chip.kind)]
    return max(matching, key=lambda chip: len(chip.kind), default=None)
