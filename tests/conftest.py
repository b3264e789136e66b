"""Fixtures that more than one folder of tests needs."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Shapes and types of train/ are checked at run time, in the tests only.
install_import_hook("train", "beartype.beartype")

SHARED_DATA = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real CT and real masks, where they lie beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA
