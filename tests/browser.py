"""A page in a real browser, opened from the file system as by a double click."""

import shutil
import time
from contextlib import contextmanager

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--no-first-run", "--window-size=1400,900"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL without a GPU
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def opened(page, folder):
    """Open a page; downloads and the profile lie in `folder`. Errors of its scripts are errors."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium with chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in (*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(word)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get(f"file://{page}")
        yield driver
        log = driver.get_log("browser")
        assert [entry["message"] for entry in log if entry["level"] == "SEVERE"] == []
    finally:
        driver.quit()


def keys(browser, *words):
    for word in words:
        browser.find_element("tag name", "body").send_keys(word)


def click(browser, selector):
    element = browser.find_element("css selector", selector)
    # away from the head of the page, which stays where it is
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def text(browser, selector):
    # in one step: the page may put another element in its place meanwhile
    script = "return document.querySelector(arguments[0]).innerText"
    return browser.execute_script(script, selector)


def wait(found, seconds=20):
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.05)
    return value
