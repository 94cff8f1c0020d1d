"""Energy and carbon: the published table, row by row."""

import pytest

from jaxalign.planning.footprint import footprint

# Llama 2, table 2: device hours, watts, tonnes of CO2
ROWS = {
    "7B": (184_320, 400, 31.22),
    "13B": (368_640, 400, 62.44),
    "34B": (1_038_336, 350, 153.90),
    "70B": (1_720_320, 400, 291.42),
}


@pytest.mark.parametrize("model", ROWS)
def test_the_published_tonnes(model):
    hours, watts, tonnes = ROWS[model]
    # rows have factors of 0.4234 to 0.4235
    assert footprint(hours, watts).kg / 1000 == pytest.approx(tonnes, rel=2.4e-4)


def test_years_of_one_device_and_another_grid():
    total = sum(hours for hours, _, _ in ROWS.values())
    assert round(footprint(total, 400).years) == 378
    assert footprint(10, 500, kg_per_kwh=0.1) == (10, 10 / 8760, 5.0, 0.5)
