"""The page that shows every format and question is what the code makes today."""

import importlib.util
from pathlib import Path

from lsw_hf.data.tables.questions.asking import QUESTION_TYPES

DOCS = Path(__file__).parents[3] / "docs"


def test_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("make_tables_page", DOCS / "make_tables_page.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.make_page()
    assert page == (DOCS / "reference" / "table_questions.md").read_text(encoding="utf-8"), (
        "run python docs/make_tables_page.py"
    )
    assert all(page.count(f"### `{kind}` (") == 2 for kind in QUESTION_TYPES)
