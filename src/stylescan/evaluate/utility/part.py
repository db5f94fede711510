"""Two parts of the report, with --full: 'conditional' and 'utility'."""

from __future__ import annotations

from stylescan.evaluate.cache import Progress
from stylescan.evaluate.material import Material
from stylescan.evaluate.parts import Part
from stylescan.evaluate.utility.benefit import utility_values
from stylescan.evaluate.utility.classifier import Recipe
from stylescan.evaluate.utility.fidelity import fidelity_values
from stylescan.evaluate.utility.figure import arms_uri


def run_conditional(material: Material, progress: Progress | None) -> Part:
    """Do generated images show the class they were asked for? Template: parts/conditional.html.j2."""
    return Part(fidelity_values(material, recipe=Recipe(), progress=progress))


def run_utility(material: Material, progress: Progress | None) -> Part:
    """Can generated images teach a classifier? Template: parts/utility.html.j2."""
    values = utility_values(material, recipe=Recipe(), progress=progress)
    return Part(values, {"arms": arms_uri(values["arms"])} if values["ran"] else {})
