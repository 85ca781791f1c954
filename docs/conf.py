"""Settings of the documentation site, which `make docs` builds with Sphinx into build/docs.

The source folder is the root of the repository, so that every relative link of the Markdown files has the same target
on the site as on a code-hosting site: pages, files in results/ and src/ (as downloads), CONTRIBUTING.md, CHANGELOG.md.
"""

import numpy
import numpy.typing
import pandas
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject

# ruff: noqa: E402
numpy.typing.NDArray = numpy.ndarray  # before the following imports: arrays are shown as ndarray[uint8]

from taichinet import api
from taichinet.datasets.folds import FoldPlan, Protocol
from taichinet.datasets.manifest import Manifest
from taichinet.evaluation.decision import Decision
from taichinet.evaluation.statistics import PairedTest
from taichinet.experiments.cross_validate import Existing, Study
from taichinet.experiments.evaluate import Evaluation, Source
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.study_data import DataSpec
from taichinet.inference import segmenter
from taichinet.version import __version__

# Types in signatures, which these modules import for type checkers only; without one of them the build fails.
vars(api).update(
    pd=pandas, FoldPlan=FoldPlan, Protocol=Protocol, Manifest=Manifest, PairedTest=PairedTest, Existing=Existing,
    Study=Study, Evaluation=Evaluation, Source=Source, Experiment=Experiment, DataSpec=DataSpec,
    Segmenter=segmenter.Segmenter,
)  # fmt: skip
vars(segmenter).update(Decision=Decision)

project = "taichinet"
author = "The taichinet authors"
copyright = author  # noqa: A001 (the name that Sphinx reads)
release = version = __version__

root_doc = "docs/index"
include_patterns = ["docs/**", "*.md", "src/taichinet/examples/*.md", "src/taichinet/weights/*/README.md"]
exclude_patterns = [".*", "benchmarks", "build", "dist", "results", "runs", "taichinet-demo", "tests"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!taichinet).*\..*"),  # types of other packages: their documentation is not here
    # Types in signatures that are not part of the public interface.
    (r"py:class", r"taichinet\.(datasets\.decoded|experiments\.records|reports)\..*"),
    (
        r"py:class",
        r".*\.(Detection|LoadedWeights|NetworkCode|Predictor|PredictorChoices|ScoredNetwork|TwoPathSettings)",
    ),
]

myst_heading_anchors = 4  # levels of headings that `page.md#heading` can name
myst_enable_extensions = ["html_image", "linkify"]  # images with a width; addresses without brackets
myst_linkify_fuzzy_links = False  # only addresses with https://: "mynet.py" is a file
default_role = "code"  # docstrings have code in single backticks

# Classes are described by their attributes, not by how they are created: most are results.
autodoc_class_signature = "separated"
autodoc_default_options = {"exclude-members": "__init__, __new__"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_use_ivar = True

html_theme = "furo"
html_title = "taichinet"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_root"]  # index.html, which redirects to the root document
html_domain_indices = html_use_index = False  # the API reference and the search are enough
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Adapt two defaults that have no setting."""
    # Code-hosting sites draw Mermaid diagrams; here that would need the network, so their source is shown as text.
    app.add_lexer("mermaid", TextLexer)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # the heading in the docstrings; Sphinx says "Variables"
