"""Sphinx configuration: MyST pages, numpydoc docstrings, every warning an error."""

project = "pytorch-hmm"
author = "The pytorch-hmm developers"
copyright = "2026, the pytorch-hmm developers"
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_theme = "furo"
html_title = "pytorch-hmm"
exclude_patterns = ["_build"]
autosummary_generate = False
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_typehints = "none"  # shapes and units are in the docstrings
numpydoc_xref_param_type = False
# Documented elsewhere; no inventory is fetched while building.
nitpick_ignore_regex = [("py:.*", r"(torch|numpy|np|time|typer|rich|pathlib|collections)\..*")]
