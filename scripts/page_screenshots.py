"""Screenshots of the leaderboard's page of all published results: desktop, dark and phone.

python scripts/page_screenshots.py OUT      # a folder; docs/images/leaderboard.png is its desktop.png

Needs chromium, chromedriver, selenium and Pillow.
"""

import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver

from openood_multimodal.reporting.leaderboard import make_boards
from openood_multimodal.reporting.page import PAGE, page
from openood_multimodal.reporting.published import published_records

SHOT = {"desktop": (1360, 900, "light"), "dark": (1360, 900, "dark"), "phone": (390, 844, "light")}


def main(out: Path) -> None:
    """Write ``<name>.png`` for each of `SHOT` into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with (
        webdriver.Chrome(options=options, service=service) as browser,
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder, PAGE)
        path.write_text(page(make_boards(published_records())), encoding="utf-8")
        for name, (width, height, theme) in SHOT.items():
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            media = [{"name": "prefers-color-scheme", "value": theme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
            browser.get(f"{path.as_uri()}#benchmark=hmdb51_25_26")
            while not browser.execute_script("return document.documentElement.dataset.ready"):
                time.sleep(0.05)
            shot = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
            shot.quantize(96).save(out / f"{name}.png", optimize=True)
            browser.get("about:blank")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
