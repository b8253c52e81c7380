"""Configuration of the documentation; `make docs` builds it."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
# The sources are documented, whatever is installed; and our own directives are found.
sys.path[:0] = [str(HERE.parent / "src"), str(HERE / "_ext")]

project = "wsdirect"
author = "wsdirect contributors"
copyright = author
_version = (HERE.parent / "src/wsdirect/_version.py").read_text(encoding="utf-8")
_found = re.search(r'"([^"]+)"', _version)
assert _found is not None
release = version = _found[1]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "wsdirect_docs",
    "bench_docs",
]
if shutil.which("dot"):
    extensions.append("sphinx.ext.graphviz")
    graphviz_output_format = "svg"

source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_build", "_ext", "diagrams"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True
napoleon_custom_sections = [("Errors", "Raises")]
autodoc_typehints = "none"  # signatures that are read, not parsed

html_theme = "furo"
html_title = "wsdirect"
html_copy_source = False
html_show_sphinx = False
