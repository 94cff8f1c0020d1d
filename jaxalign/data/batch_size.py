"""Checks of `--batch` against the data, the micro-batches and the devices."""

MAX_REPEATED_ROWS = 1024  # of a packed or mixed step, which may repeat few examples


def check_size(
    rows: int, available: int, *, flag: str = "--batch", may_repeat: bool = False
) -> None:
    """Refuses a step of more rows than there are examples, which would repeat them.

    Args:
      rows: examples in a step, over all devices.
      available: examples of the data.
      flag: the name of `rows` on the command line.
      may_repeat: packed rows and mixtures may repeat examples in steps of up to 1,024.

    Raises:
      ValueError: names the flag and the largest value.
    """
    most = max(available, MAX_REPEATED_ROWS if may_repeat else 0)
    if rows > most:
        raise ValueError(
            f"{flag} {rows:,} is more than the {available:,} rows of the data, which a "
            f"step would repeat: give {most:,} at most"
        )


def check_divides(rows: int, *, micro_batches: int, devices: int) -> None:
    """Refuses a batch that does not divide into micro-batches or over the devices.

    To be called before anything is computed.

    Args:
      devices: on the axes data and fsdp of the mesh.

    Raises:
      ValueError: names the flags.
    """
    for parts, name in (
        (micro_batches, "--micro-batches"),
        (devices, "devices on the axes data and fsdp of the --mesh"),
    ):
        if rows % parts:
            raise ValueError(
                f"--batch {rows} does not divide into the {parts} {name}: give a "
                f"multiple of {parts}"
            )
