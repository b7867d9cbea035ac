"""Tables of docs/ that follow from code or from committed measurements."""

import pytest
from generated import DOCS, TABLES, rendered


@pytest.mark.parametrize("page", TABLES)
def test_tables_are_up_to_date(page: str) -> None:
    """If not, `python tests/helpers/generated.py` writes them."""
    assert (DOCS / page).read_text() == rendered(page)
