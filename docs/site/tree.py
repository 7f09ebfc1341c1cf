"""The site has the folders of the repository, so that every link between pages works in both.

MkDocs would take docs/ alone; this hook takes what README, the pages and the examples link too.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PATTERNS = (
    "*.md",
    "docs/*.md",
    "docs/*.png",
    "docs/api/*.md",
    "docs/site/site.css",
    "examples/*.md",
    "examples/*.py",
    "examples/*.ipynb",
    "acomp/samples/README.md",
    "tests/support/third_party/*.py",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site: the theme's, and those of `PATTERNS` under their own paths."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    paths = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
    own = [
        File(str(path.relative_to(ROOT)), str(ROOT), config.site_dir, config.use_directory_urls)
        for path in paths
    ]
    return Files([*theme, *own])
