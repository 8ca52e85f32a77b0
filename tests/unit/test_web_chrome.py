"""What stands around the pages, and colours that can be read."""

import asyncio
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")

from starlette.responses import PlainTextResponse
from streamlit import file_util

from sim.reports.palette import contrast
from tests.command import ROOT
from web import chrome
from web.server.shell import Shell

THEME = tomllib.loads((ROOT / "web" / ".streamlit" / "config.toml").read_text())["theme"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_links_stand_out_on_every_ground(scheme):
    """WCAG 2.2, AA: 4.5 for text, 3 for the edges of controls."""
    theme = THEME[scheme]
    for ground in (theme["backgroundColor"], theme["secondaryBackgroundColor"], theme["sidebar"]["backgroundColor"]):
        assert contrast(theme["textColor"], ground) >= 7
        assert contrast(theme["linkColor"], ground) >= 4.5
        assert contrast(theme["primaryColor"], ground) >= 4.5


def test_the_theme_fetches_nothing():
    assert "http" not in str(THEME)
    assert "http" not in chrome.LOGO.replace("http://www.w3.org/2000/svg", "")
    assert chrome.ICON.startswith("<svg")


def asked(address: str) -> tuple[int, dict[str, str], str]:
    """What the shell answers: status, headers, text; without a server."""
    path, _, query = address.partition("?")
    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": query.encode(),
        "headers": [(b"host", b"localhost")],
    }  # fmt: skip
    messages = []

    async def send(message):
        messages.append(message)

    with ThreadPoolExecutor(1) as elsewhere:  # a browser of another test may keep a loop in this thread
        elsewhere.submit(asyncio.run, Shell(PlainTextResponse("the app"))(scope, None, send)).result()
    begin, *rest = messages
    headers = {name.decode(): value.decode() for name, value in begin["headers"]}
    return begin["status"], headers, b"".join(one["body"] for one in rest).decode()


def test_the_first_page_has_a_name_of_its_own_too():
    """Streamlit knows it as / alone."""
    status, headers, _ = asked("/train?model=gpt-1t&gpus=3072")
    assert (status, headers["location"]) == (307, "./?model=gpt-1t&gpus=3072")
    assert asked("/train")[1]["location"] == "./"
    assert "<title>ShardSim</title>" in asked("/")[2]


def test_what_the_first_page_shows_late_is_fetched_with_it():
    """Each file once, and none that is not there."""
    files = re.findall(r'(?:href|src)="\./(static/[^"]*)"', asked("/")[2])
    assert len(set(files)) == len(files)
    assert all(Path(file_util.get_static_dir(), file).exists() for file in files)
    for part in ("BidiComponent", "recordbatch", "Selectbox", "Metric", "MaterialSymbols"):
        assert any(part in file for file in files), part


def test_about_names_version_and_licence():
    from sim import __version__

    assert __version__ in chrome.ABOUT
    assert "Apache 2.0" in chrome.ABOUT
