"""Sphinx configuration: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import os
import sys
from itertools import chain
from pathlib import Path

# Examples run during the build: on the CPU, without TensorFlow's log messages.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd
import sphinx_gallery.notebook
from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from numpydoc.xref import DEFAULT_LINKS
from sphinx_gallery.sorting import ExplicitOrder

import featbus
from featbus.base import Documented
from featbus.networks import BACKBONES

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE))
from inventories import write_inventories
from notebooks import find_documentation, replace_roles

project = "featbus"
author = "The featbus developers"
project_copyright = f"2026, {author}"
release = featbus.__version__
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "py:obj"
highlight_language = "none"

# Whatever has a dot in its name must be found. Without one, it can be a parameter.
nitpicky = True
nitpick_ignore_regex = [("py:obj", r"[^.]+|.*[^\w.].*")]
intersphinx_mapping = write_inventories(_HERE / "api" / "generated" / "inventories")

autodoc_typehints = "none"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    **{name: name for name in DEFAULT_LINKS},
    "ndarray": "numpy.ndarray",
    "DataFrame": "pandas.DataFrame",
    "Series": "pandas.Series",
    "Pipeline": "sklearn.pipeline.Pipeline",
    "Bunch": "sklearn.utils.Bunch",
    **{name: f"featbus.{name}" for name in featbus.__all__ if name[0].isupper()},
}

# The button copies what is typed: no prompts, no output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "featbus"
html_baseurl = find_documentation()
html_static_path = ["_static"]
html_css_files = ["featbus.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_sidebars = {"index": [], "getting_started": [], "whats_new": [], "contributing": []}
html_theme_options = {
    "logo": {"text": "featbus"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc", "sg_download_links"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "github-dark",
}

# The sections of the gallery, and the examples that come first in each.
EXAMPLES = {
    "start": ["plot_main_job.py", "plot_own_images.py"],
    "images_in": ["plot_synthetic_images.py", "plot_image_loader.py"],
    "preprocessing": [
        "plot_resize.py",
        "plot_resample.py",
        "plot_filters.py",
        "plot_enhancement.py",
        "plot_remove_annotations.py",
        "plot_breast_region.py",
        "plot_pectoral_muscle.py",
        "plot_roi_cropper.py",
    ],
    "features": [
        "plot_deep_features.py",
        "plot_onnx_features.py",
        "plot_fine_tuned_features.py",
        "plot_intensity_statistics.py",
        "plot_ivh.py",
        "plot_hog.py",
        "plot_lbp.py",
        "plot_glcm.py",
        "plot_glrlm.py",
        "plot_glszm.py",
        "plot_gldzm.py",
        "plot_ngtdm.py",
        "plot_ngldm.py",
        "plot_radiomics.py",
        "plot_shape_statistics.py",
        "plot_visual_words.py",
        "plot_breast_density.py",
        "plot_fractal.py",
        "plot_fourier.py",
        "plot_zernike.py",
        "plot_birads.py",
    ],
    "learning": [
        "plot_near_duplicates.py",
        "plot_audit.py",
        "plot_image_augmenter.py",
        "plot_balancing.py",
    ],
    "judging": ["plot_evaluate.py", "plot_honesty.py", "plot_report.py", "plot_importance.py"],
    "deploying": ["plot_feature_bus.py", "plot_scale.py", "plot_model_file.py"],
    "recipes": [],
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "api/generated/examples",
    "doc_module": ("featbus",),
    "subsection_order": ExplicitOrder([f"../examples/{name}" for name in EXAMPLES]),
    "within_subsection_order": ExplicitOrder([*chain(*EXAMPLES.values()), "*"]),
    "first_notebook_cell": "# In the folder of the source code of featbus: %pip install .",
    "image_srcset": ["2x"],
    "show_signature": False,
    "remove_config_comments": True,
    "capture_repr": ("_repr_html_",),
}

# The "?" of estimators in the gallery leads to these pages, wherever they are.
Documented._doc_link_template = "../../api/generated/featbus.{estimator_name}.html"

# sphinx-gallery knows no other way to convert roles without Pandoc.
rst_to_markdown = sphinx_gallery.notebook.rst2md
sphinx_gallery.notebook.rst2md = lambda text, *args: rst_to_markdown(replace_roles(text), *args)


def write_backbones(app):
    """Write the tables of backbones of the user guide."""
    folder = _HERE / "api" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    table = featbus.list_backbones()
    name = "``" + table["name"] + "``"
    stages = table[["C2", "C3", "C4", "C5"]].map("{:,}".format)
    options = [", ".join(f"``{name}``" for name in BACKBONES[row].options) for row in table["name"]]
    networks = {
        "Backbone": name,
        "Input": table["input_size"],
        "Parameters": table["parameters"].map("{:,}".format),
        "Top-1": table["top_1"].map("{:.1f}".format).replace("nan", ""),
        "Preprocessing": table["preprocessing"],
    }
    pd.DataFrame(networks).to_csv(folder / "backbones.csv", index=False)
    pd.DataFrame({"Backbone": name, **stages}).to_csv(folder / "stages.csv", index=False)
    options = pd.DataFrame({"Backbone": name, "Options": options})
    options[options["Options"] != ""].to_csv(folder / "options.csv", index=False)


def find_own_name(app, env, node, contnode):
    """Resolve the name of something that ``featbus`` exports, written without ``featbus``."""
    if node.get("reftarget") not in featbus.__all__:
        return None
    domain = env.get_domain("py")
    target = f"featbus.{node['reftarget']}"
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, contnode)


def write_inline_math(translator, node):
    """Write an inline formula as MathML, which browsers render without an external script."""
    translator.body.append(tex2mathml(node.astext()))
    raise SkipNode


def write_displayed_math(translator, node):
    """Write a displayed formula as MathML."""
    translator.body.append(tex2mathml(node.astext()).replace("<math", '<math display="block"', 1))
    raise SkipNode


def setup(app):
    """Connect to Sphinx."""
    app.connect("builder-inited", write_backbones)
    app.connect("missing-reference", find_own_name)
    app.add_html_math_renderer("mathml", (write_inline_math, None), (write_displayed_math, None))
