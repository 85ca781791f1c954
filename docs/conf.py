"""Settings of the documentation site, which `make docs` builds with Sphinx into build/docs.

The source folder is the root of the repository, so that every relative link of the Markdown files has the same target
on the site as on a code-hosting site: pages, files in results/ and src/ (as downloads), CONTRIBUTING.md, CHANGELOG.md.
"""

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from taichinet.version import __version__

project = "taichinet"
author = "The taichinet authors"
copyright = author  # noqa: A001 (the name that Sphinx reads)
release = version = __version__

root_doc = "docs/index"
include_patterns = ["docs/**", "*.md", "src/taichinet/weights/*/README.md"]
exclude_patterns = [
    "README.md",  # docs/index.md is the page for the same readers
    ".*",
    *("benchmarks", "build", "dist", "results", "runs", "taichinet-demo", "tests"),
]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r".*")]

myst_heading_anchors = 4  # levels of headings that `page.md#heading` can name
myst_enable_extensions = ["dollarmath"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
default_role = "code"  # docstrings use single backticks for code

html_theme = "furo"
html_title = "taichinet"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_root"]  # index.html, which redirects to the root document
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Sphinx) -> None:
    """Show the source of Mermaid diagrams as text: code-hosting sites draw them, here that would need the network."""
    app.add_lexer("mermaid", TextLexer)
