"""When an answer counts: each mode on cases that only it decides so."""

import re

import pytest

from lsw_hf.evaluation.scoring import is_correct, match_all, match_any, normalize


@pytest.mark.parametrize(
    ("expected", "answered", "contains", "exact", "normalized"),
    [
        ("sang", " sang", True, True, True),
        ("sang", "Sang.", True, False, True),
        ("sang", "sang.", True, True, True),
        ("482", "14827", False, False, False),
        ("482", "it is 482, I think", True, False, True),
        ("value1", "value12", False, False, False),
        ("琥珀", "是琥珀。", True, False, True),
        ("482", "４８２", False, False, True),
        ("ice cream", "ice-cream", False, False, True),
        ("a.b", "axb", False, False, False),
        ("sang", "", False, False, False),
        ("sang", "sang\nand left", True, True, True),
    ],
)
def test_modes(expected, answered, contains, exact, normalized):
    assert is_correct(expected, answered) is contains
    assert is_correct(expected, answered, "exact") is exact
    assert is_correct(expected, answered, "normalized") is normalized


def test_likelihood_is_no_text_mode():
    with pytest.raises(ValueError, match=re.escape("'contains', 'exact' or 'normalized'; got 'likelihood'")):
        is_correct("a", "a", "likelihood")


def test_normalize():
    assert normalize("  Ｔｈｅ—cat,\nsat!  ") == "the cat sat"


def test_several_answers():
    assert match_all(["1", "22", "333"], "333 and 1") == pytest.approx(2 / 3)
    assert match_any(["1", "22"], "22!") == 1.0
    assert match_any(["1", "22"], "3") == 0.0
