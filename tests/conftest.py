"""How every test runs: Hypothesis gives no example a deadline, since a busy machine is no reason to fail; fits that the
developer made with `calibrate fit` are not looked at; and a process computes in one thread, since there is a process of
pytest for each core."""

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["XDG_DATA_HOME"] = os.path.join(os.path.dirname(__file__), "no-fits-of-ones-own")

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def _main_stays_what_it_is() -> Iterator[None]:
    """Streamlit's AppTest leaves its script behind as `__main__`, which whatever is started by spawn would run."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
