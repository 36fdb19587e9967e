"""The site: Sphinx, pydata theme, MyST. Figures and the example report are made while it is built."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "heldout"
project_copyright = "2026, the heldout developers"
release = version = metadata.version("heldout")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "figures"]
exclude_patterns = ["_build", "generated"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_rtype = False
html_theme = "pydata_sphinx_theme"
html_title = f"heldout {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {"**": []}
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_math_renderer = "mathml"

suppress_warnings = ["ref.python"]  # attributes of several results have the same names: n, level, names
