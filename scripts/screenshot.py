"""Take the picture of README.md, the example's chat: ``python -m scripts.screenshot``."""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "example_project"))

from chat.tests.test_live import Visitor  # noqa: E402  # found by the path above
from config.tests.live import serve  # noqa: E402  # the same

from tests.chromium import chromium  # noqa: E402  # the path is set above

if TYPE_CHECKING:
    from collections.abc import Callable

    from selenium.webdriver import Chrome

PICTURE = ROOT / "docs" / "images" / "chat.png"
WINDOW: dict[str, Any] = {"width": 540, "height": 500, "deviceScaleFactor": 1, "mobile": False}

# It has no background, so that it suits light and dark pages.
FRAMES = """
<style>
  body { margin: 0; display: flex; gap: 12px; align-items: start; padding: 2px; }
  figure { margin: 0; border: 1px solid #7d8a82; border-radius: 12px; overflow: hidden; }
  figcaption { padding: 8px 16px; font: 600 14px sans-serif; }
  img { display: block; width: 540px; height: 444px; object-fit: cover; object-position: top; }
  .light figcaption { background: #e3e9e2; color: #3d4842; }
  .dark figcaption { background: #28332d; color: #c3cfc8; }
</style>
<figure class="light"><figcaption>Ada</figcaption><img src="%s"></figure>
<figure class="dark"><figcaption>Grace</figcaption><img src="%s"></figure>
"""
AREA_ONCE_LOADED = """
const [done] = arguments;
Promise.all([...document.images].map((image) => image.decode())).then(() => {
    const { right, bottom } = document.querySelector(".dark").getBoundingClientRect();
    done({ x: 0, y: 0, width: right + 2, height: bottom + 2, scale: 1 });
});
"""


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        serve(Path(directory)) as site,
        chromium("--hide-scrollbars") as first,
        chromium("--hide-scrollbars") as second,
    ):
        ada = open_window(first, site.url, "ada", "light")
        grace = open_window(second, site.url, "grace", "dark")
        ada.make_room("engine-room")
        grace.enter("engine-room")
        talk(ada, grace)
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_bytes(base64.b64decode(side_by_side(first, second)))


def open_window(browser: Chrome, site: str, name: str, scheme: str) -> Visitor:
    """Give somebody a window of the right size, in light or dark colors."""
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", WINDOW)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    return Visitor(browser, site, name).sign_up()


def talk(ada: Visitor, grace: Visitor) -> None:
    """Let two people talk; each reads a line before the next is said."""
    lines = [
        (ada, "Are you there?"),
        (grace, "Yes. I saw you type."),
        (ada, "And I didn't reload. How?"),
        (grace, "await self.broadcast(room, message)"),
    ]
    for number, (speaker, text) in enumerate(lines, 1):
        speaker.say(text)
        for reader in (ada, grace):
            reader.wait_until(has_read(number))
    ada.type("That was short")
    grace.wait_until(lambda me: "ada" in me.hint)


def has_read(number: int) -> Callable[[Visitor], bool]:
    return lambda me: len(me.messages) == number


def side_by_side(first: Chrome, second: Chrome) -> str:
    """Return a PNG of what two browsers show, in base64."""
    pictures = []
    for browser in (first, second):
        browser.execute_script("document.querySelector('.chat').scrollIntoView()")
        browser.execute_script("scrollBy(0, -12)")
        picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
        pictures.append(f"data:image/png;base64,{picture}")
    first.get("about:blank")
    wide = {**WINDOW, "width": 2 * WINDOW["width"] + 100, "height": 2 * WINDOW["height"]}
    first.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", wide)
    first.execute_script("document.documentElement.innerHTML = arguments[0]", FRAMES % (*pictures,))
    nothing = {"color": {"r": 0, "g": 0, "b": 0, "a": 0}}
    first.execute_cdp_cmd("Emulation.setDefaultBackgroundColorOverride", nothing)
    clip = first.execute_async_script(AREA_ONCE_LOADED)
    return str(first.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip})["data"])


if __name__ == "__main__":
    main()
