"""What a benchmark found is printed at the end, beside its bar."""

from collections.abc import Callable

import pytest

Show = Callable[[str], None]
_LINES: list[str] = []


@pytest.fixture
def show() -> Show:
    """Put a line into the summary."""
    return _LINES.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _LINES:
        terminalreporter.section("speed against its bars (best of several runs)")
        terminalreporter.write_line("\n".join(_LINES))
