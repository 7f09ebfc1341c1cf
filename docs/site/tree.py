"""The site has the folders of the repository, so that every link between pages works in both.

MkDocs would take docs/ alone; this hook takes the other pages too, and each file that a page links.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = ("*.md", "docs/**/*.md", "examples/*.md", "acomp/samples/README.md")
STYLE = ROOT / "docs" / "site" / "site.css"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site: the theme's, and ours under the paths that they have here."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    pages = {page for pattern in PAGES for page in ROOT.glob(pattern)}
    linked = {file for page in pages for file in _linked_from(page)}
    own = [
        File(str(path.relative_to(ROOT)), str(ROOT), config.site_dir, config.use_directory_urls)
        for path in sorted({*pages, *linked, STYLE})
    ]
    return Files([*theme, *own])


def _linked_from(page: Path) -> set[Path]:
    """The files of the repository that a page has links to."""
    targets = re.findall(r"\]\(([^)#:]+)", page.read_text(encoding="utf-8"))
    files = {(page.parent / target).resolve() for target in targets}
    return {file for file in files if file.is_file() and file.is_relative_to(ROOT)}
