"""Sphinx configuration: Markdown sources, furo, warnings are errors in CI."""

import medssm

project = "medssm"
author = "the medssm developers"
release = version = medssm.__version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"medssm {release}"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
