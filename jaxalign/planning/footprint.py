"""Energy and carbon of device hours.

kWh = hours * watts / 1000,    kg CO2 = kWh * 0.4235

The factor is that of Llama 2's table (Touvron et al. 2023, arXiv:2307.09288, table 2),
whose four rows all have it; watts are a device's thermal design power, and neither its
host's nor a building's cooling is in them.
"""

from typing import NamedTuple

KG_PER_KWH = 0.4235
HOURS_PER_YEAR = 8760


class Footprint(NamedTuple):
    """What device hours cost.

    Attributes:
      hours: of one device; 8 devices for an hour are 8.
      years: the same, in years of one device.
      kwh: energy.
      kg: of CO2 equivalents.
    """

    hours: float
    years: float
    kwh: float
    kg: float


def footprint(
    hours: float, watts: float, *, kg_per_kwh: float = KG_PER_KWH
) -> Footprint:
    """Energy and carbon of device hours at a device's power.

    Args:
      hours: of all devices together.
      watts: of one device.
      kg_per_kwh: CO2 equivalents of a kilowatt-hour, of the place and the time.

    >>> round(footprint(1_720_320, 400).kg / 1000, 2)  # Llama 2 70B, in tonnes
    291.42
    """
    kwh = hours * watts / 1000
    return Footprint(hours, hours / HOURS_PER_YEAR, kwh, kwh * kg_per_kwh)
