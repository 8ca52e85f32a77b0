"""The app for several testing processes: it runs as long as one of them holds the lock, however they end.

`python served.py LOCK COMMAND...`: the command is interrupted when nobody holds the lock any more.
"""

import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path

MOMENT = 0.2


def main(lock: Path, command: list[str]) -> int:
    """Returns the exit code of the command."""
    server = subprocess.Popen(command)
    while server.poll() is None and is_held(lock):
        time.sleep(MOMENT)
    server.send_signal(signal.SIGINT)
    return server.wait(20)


def is_held(lock: Path) -> bool:
    """Whether one of those that share the lock is there; a process that is killed holds none."""
    with lock.open() as ours:
        try:
            fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
