import pytest

from detrdistill.catalog import check_queries, size_of
from detrdistill.errors import ConfigError


def test_more_queries_than_cells_are_refused():
    """At 192 px strides 8, 16 and 32 have 576 + 144 + 36 cells; D-FINE-N has the last two only."""
    check_queries("d-fine", 300, 192, size_of("d-fine", "s").levels)
    with pytest.raises(ConfigError, match="among the 180 cells"):
        check_queries("d-fine", 300, 192, size_of("d-fine", "n").levels)
