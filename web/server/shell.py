"""The page that holds the app, and what every answer of the server says of itself: nothing comes from elsewhere.

Streamlit's client looks for its server at every level of the address, and complains on the console where it is not; a
script in the page tells it.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Required, TypedDict
from urllib.parse import urlparse

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config, file_util
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

WHERE: Final = 'window.__streamlit = { BACKEND_BASE_URL: location.origin + "/" };'
PAGE: Final = re.compile(r"/[a-z-]*")
FIRST: Final = "/train"
"""The name of the first page, which Streamlit knows as / alone."""
EARLY: Final = (
    *(f"widgets/{name}/{name}.tsx" for name in ("BidiComponent", "Selectbox", "NumberInput", "ButtonGroup", "Button")),
    *(f"widgets/{name}/{name}.tsx" for name in ("TextInput", "TextArea", "DownloadButton")),
    "elements/Metric/Metric.tsx",
)
"""Parts of Streamlit's client that the first page shows, and that the client would only fetch when it comes to them."""
ICONS: Final = "MaterialSymbols-Rounded.woff2"
LOOK: Final = """
[data-testid=stApp] [data-testid=stMain] [data-testid=stMainBlockContainer] {
  padding-inline: clamp(1rem, 3vw, 3.5rem); }
.stHorizontalBlock.st-key-figures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(max(11rem, 22%), 1fr)); }
.stHorizontalBlock.st-key-degrees { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr)); }
.st-key-figures [data-testid=stMetric] > div { padding: 0.35rem 0.6rem; }
.st-key-figures [data-testid=stMetricLabel] p { font-size: 0.85rem; }
.st-key-figures [data-testid=stMetricValue] { font-size: 1.4rem; }
.stHorizontalBlock.st-key-head { row-gap: 0; }
[data-testid=stMainBlockContainer] [data-testid=stHeading] :is(h1, h2, h3) { padding: 0.25rem 0; }
[data-testid=stApp]:has([data-testid=stSidebar][data-collapsed=false]) [data-testid=stMainBlockContainer] {
  padding-top: 1rem; }
[data-testid=stApp]:has([data-testid=stSidebar][data-collapsed=false]) [data-testid=stHeader] {
  background: none; pointer-events: none; }
[data-testid=stHeader] button { pointer-events: auto; }
[data-testid=stStatusWidget] button { display: none; }
"""
"""Where the names of the pages stand at the side, there is nothing at the top for which room must be kept. The button
to stop is our own: Streamlit's would leave a page half done."""


class Shell:
    """Around Streamlit: it gives the page for each address of one, refuses strangers, and adds headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        html = _html()
        self._page = HTMLResponse(html, headers={"Cache-Control": "no-cache"})
        self._headers = {
            "Content-Security-Policy": _policy(html),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one socket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await self._answer(scope)(scope, receive, self._with_headers(send))

    def _answer(self, scope: Scope) -> ASGIApp:
        if not _is_own(Headers(scope=scope)):
            return PlainTextResponse("This page does not belong to the app.", 403)
        if scope["type"] == "http" and scope["path"] == FIRST:
            return RedirectResponse(f"./?{scope['query_string'].decode('latin-1')}".removesuffix("?"))
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and PAGE.fullmatch(scope["path"]):
            return self._page
        return self._app

    def _with_headers(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        return sent


def _html() -> str:
    html = Path(file_util.get_static_dir(), "index.html").read_text()
    ours = ("<title>ShardSim</title>", f"<script>{WHERE}</script>", f"<style>{LOOK}</style>", *_early(html))
    html = html.replace("<title>Streamlit</title>", "\n".join(ours))
    assert WHERE in html, "Streamlit's page is not what it was"
    return html


def _early(html: str) -> Iterator[str]:
    """Links that fetch with the page what its client will ask for later; none for a part that is not there."""
    manifest = Path(file_util.get_static_dir(), "manifest.json")
    parts: dict[str, _Part] = json.loads(manifest.read_text()) if manifest.exists() else {}
    files = {file for name in parts if name.endswith(EARLY) for file in _with_imports(name, parts)}
    for file in sorted(files):
        if file not in html:
            yield f'<link rel="modulepreload" crossorigin href="./{file}">'
    for name, part in parts.items():
        if name.endswith(ICONS):
            yield f'<link rel="preload" as="font" type="font/woff2" crossorigin href="./{part["file"]}">'


class _Part(TypedDict, total=False):
    """What Vite's manifest says of one file of the client."""

    file: Required[str]
    imports: list[str]


def _with_imports(name: str, parts: Mapping[str, _Part]) -> set[str]:
    found, new = set[str](), {name}
    while new:
        found |= new
        new = {each for one in new for each in parts[one].get("imports", ()) if each in parts} - found
    return {parts[one]["file"] for one in found}


def _policy(html: str) -> str:
    """Scripts only of this server's, and those in its page; `eval` for Vega's expressions, blobs for components."""
    inline = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in inline)
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' 'unsafe-eval' blob: {hashes}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self' data: blob:",
            "worker-src 'self' blob:",
            "frame-ancestors 'self'",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
        )
    )


def _is_own(headers: Headers) -> bool:
    """Whether no page of another's asks, nor one that has made its name point here."""
    origin, host = headers.get("origin"), headers.get("host")
    if not is_host_allowed(host):
        return False
    return origin is None or urlparse(origin).netloc == host or origin in config.get_option("server.corsAllowedOrigins")
