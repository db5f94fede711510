"""Sphinx: the pages beside this file, and references read from the code at every build. Nothing is fetched."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from stylescan import __version__

project = "stylescan"
author = "the stylescan authors"
version = release = __version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "cyclopts.ext.sphinx", "reference"]
exclude_patterns = ["_ext"]
html_theme = "furo"
html_title = f"stylescan {__version__}"
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "literal"  # docstrings write code in single backticks
highlight_language = "none"
smartquotes = False  # they would turn --out into a dash
