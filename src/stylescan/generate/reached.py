"""How far a growing generator has come, and its images at the resolutions below."""

from __future__ import annotations

from stylescan.errors import ConfigError
from stylescan.nets.build import family_of
from stylescan.nets.growing import reached_by
from stylescan.nets.protocols import Generator, Stage


def stage_at(generator: Generator, resolution: int) -> Stage:
    """The stage at which a growing generator makes images of `resolution` pixels, faded in as far as it was trained.

    ConfigError where it does not grow, or has not reached that resolution.
    """
    family, reached = generator.spec.family, reached_by(generator)
    if reached is None or family_of(family).grows != "levels":
        raise ConfigError(
            f"resolution: a model of family {family} does not grow, it makes images of {generator.spec.resolution} px alone",
            remedy="leave the resolution out",
        )
    newest = reached.read()
    stages = [Stage(depth) for depth in range(newest.depth)] + [newest]
    found = next((stage for stage in stages if stage.resolution == resolution), None)
    if found is None:
        raise ConfigError(
            f"resolution: found {resolution}, this model has reached {newest.resolution} px",
            remedy=f"give one of {', '.join(str(stage.resolution) for stage in stages)}",
        )
    return found
