"""`shardsim web`: what it refuses, and how it begins and ends."""

import importlib.util
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.command import Shardsim, assert_refused, process

STREAMLIT = pytest.mark.skipif(importlib.util.find_spec("streamlit") is None, reason="streamlit is not installed")


def test_without_streamlit_it_says_what_to_install(shardsim: Shardsim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    answer = shardsim("web")
    assert (answer.code, answer.out) == (4, "")
    assert "pip install 'shardsim[web]'" in answer.err


@STREAMLIT
def test_a_port_that_is_taken_or_an_address_of_others_is_refused(shardsim: Shardsim) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert_refused(shardsim("web", "--no-browser", "--port", port), f"port {port} of '127.0.0.1': address already")
    assert_refused(shardsim("web", "--no-browser", "--host", "192.0.2.1"), "cannot listen on port 8501 of '192.0.2.1'")
    assert_refused(shardsim("web", "--no-browser", "--host", "a" * 300), "cannot listen on port 8501 of 'aaa")
    assert_refused(shardsim("web", "--port", "70000"), "less than or equal to 65535")


def test_help_says_what_it_does(shardsim: Shardsim) -> None:
    assert "Ctrl-C ends it" in shardsim("web", "--help").out


@STREAMLIT
def test_it_serves_only_its_own_page_in_any_folder_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    """A folder called `web`, and a configuration, in the working directory are not the app's."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web/__init__.py").write_text("raise SystemExit('not this one')")
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit/config.toml").write_text("[server]\nmaxUploadSize = 4000\nenableXsrfProtection = false\n")
    running = process("web", "--port", "0", "--no-browser", cwd=tmp_path)
    assert running.stdout is not None
    address = running.stdout.readline().strip()
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        with urllib.request.urlopen(f"{address}/learn?x=2", timeout=60) as answer:
            assert "<title>ShardSim</title>" in answer.read().decode()
            policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self';" in policy
        assert "http" not in policy
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=60) as answer:
            assert "_streamlit_xsrf" in answer.headers["Set-Cookie"]
        for stranger in ({"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"}):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(urllib.request.Request(f"{address}/_stcore/health", headers=stranger))
    finally:
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (out, err) == ("", "shardsim: interrupted\n")
    assert running.returncode == 130
