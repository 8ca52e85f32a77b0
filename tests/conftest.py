"""How every test runs: Hypothesis gives no example a deadline, since a busy machine is no reason to fail; fits that the
developer made with `calibrate fit` are not looked at; and a process computes in one thread, since there is a process of
pytest for each core."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["XDG_DATA_HOME"] = os.path.join(os.path.dirname(__file__), "no-fits-of-ones-own")

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
