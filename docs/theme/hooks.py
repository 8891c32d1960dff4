"""What the build adds to MkDocs: figures and kept results come from `benchmarks/`, where their commands write them.

Pages link to them by their path in the repository (`../../benchmarks/results/x.png`), so that a page can be read there
too.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"\]\((?:\.\./)+(benchmarks/results/[\w./]+)\)")


def on_files(files, config):
    """Add every figure and every kept result to the site."""
    for path in sorted((ROOT / "benchmarks" / "results").iterdir()):
        if path.suffix in (".png", ".json"):
            name = str(path.relative_to(ROOT))
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links into `benchmarks/results` at what `on_files` added."""
    up = "../" * page.file.src_uri.count("/")
    return OUTSIDE.sub(lambda found: f"]({up}{found.group(1)})", markdown)
