"""A real browser, Debian's chromium without a window, and servers to visit."""

import contextlib
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BINARY, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
REASON = "chromium, chromedriver or selenium is not installed"
INSTALLED = bool(BINARY and DRIVER and importlib.util.find_spec("selenium"))


def open_browser(*, width=1200, height=900, dark=False):
    """A browser with a page of this size; nothing is downloaded."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BINARY
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    resize(driver, width, height, dark=dark)
    driver.set_script_timeout(30)
    return driver


def resize(driver, width, height, *, dark=False):
    """Another size, and light or dark."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {**metrics, "mobile": width < 500}
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})


class Server:
    """A study that is served by a process of its own, which can be killed."""

    def __init__(self, folder, **options):
        self.folder, self.options = folder, options
        self.start()

    def start(self):
        command = ["-m", "tests.feedback.serve_study", str(self.folder)]
        self.process = subprocess.Popen(
            [sys.executable, *command, json.dumps(self.options)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http"), "the server did not start"
        self.options["port"] = int(self.url.rstrip("/").rpartition(":")[2])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def serving(folder, **options):
    """A served study, which is killed at the end."""
    server = Server(folder, **options)
    try:
        yield server
    finally:
        server.kill()
