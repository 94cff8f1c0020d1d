"""--quick and --smoke change defaults, and nothing that was given."""

import dataclasses

from jaxalign.runtime.study_sizes import with_size


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of a study."""

    steps: int = 100
    prompts: int = 64
    shares: tuple[float, ...] = (0.1, 0.5)
    quick: bool = False
    smoke: bool = False


SIZES = {
    "smoke": {"steps": 2, "shares": ()},
    "quick": {"steps": 50, "prompts": 32},
}


def test_a_flag_that_was_given_keeps_its_value():
    assert with_size(Config(quick=True, steps=7), **SIZES) == Config(7, 32, quick=True)
    assert with_size(Config(smoke=True, prompts=5), **SIZES) == Config(
        2, 5, (), smoke=True
    )


def test_without_either_nothing_changes_and_smoke_comes_before_quick():
    assert with_size(Config(steps=7), **SIZES) == Config(steps=7)
    assert with_size(Config(smoke=True, quick=True), **SIZES).steps == 2
