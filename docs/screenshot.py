"""Take the picture of the README: the timeline of a report.html, as a PNG (needs playwright and a Chromium).

python docs/screenshot.py out/report.html docs/images/timeline.png
"""

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    """Read the two paths, open the page, write the picture."""
    parser = argparse.ArgumentParser(description="The timeline of a report.html as a PNG.")
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--selector", default="#timeline", help="what to picture; 'main' is the whole page")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    flags = parser.parse_args()
    flags.picture.parent.mkdir(parents=True, exist_ok=True)
    take(flags.report, flags.picture, flags.selector, flags.chromium)


def take(report: Path, picture: Path, selector: str, chromium: str) -> None:
    """One element of the page at 1,280 pixels wide, light, at twice the resolution, without the tools of the reader."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=2, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.add_style_tag(content=".sst-tools, .sst-hint { display: none } #timeline { padding: 4px 0 }")
        page.locator(selector).screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main()
