"""The documentation site: `make docs` builds it, runs every tutorial and draws every picture."""

import importlib
import pkgutil
import sys
from pathlib import Path

import steppers

# autodoc_preserve_defaults writes into the signatures of rules, which classes read as they are made
for each in pkgutil.walk_packages(steppers.styles.__path__, "steppers.styles."):
    importlib.import_module(each.name)

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "steppers"
author = "The steppers authors"
copyright = author
version = release = steppers.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "reference",
]
# Tutorials are executed from docs/tutorials and written as pages into docs/learn.
exclude_patterns = ["_build", "_ext", "tutorials", "learn/**.py", "learn/**.ipynb"]
suppress_warnings = ["config.cache"]  # the scraper of pictures cannot be pickled

# --- pages -------------------------------------------------------------------------------------

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
default_role = "literal"  # one pair of backticks is code in our docstrings
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_preserve_defaults = True  # `exp_avg=zeros`, as it is written
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

# --- tutorials ---------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "learn",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_",),
    "image_scrapers": ("pictures.save_figures",),
    "reset_modules": ("pictures.repeatable",),
    "run_stale_examples": True,  # the library may have changed even if the tutorial has not
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "download_all_examples": False,
    "plot_gallery": True,
}

# --- the site ----------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"steppers {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
