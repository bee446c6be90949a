"""The preview in a real browser: sign in by the link, play a call, see its one message go through its states."""

import asyncio
import shutil

import pytest
from playwright.async_api import async_playwright, expect

from calls.scenarios import catalogue
from tests.running import TOKEN, UNLIMITED, Running, enterprise, running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: install one to see the pages"
)

ARGUMENTS = [
    "--no-sandbox",  # it may be root that runs the tests; the pages are ours alone
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, NARROW = {"width": 1200, "height": 800}, {"width": 390, "height": 780}


@pytest.fixture
async def service(database, tmp_path):
    directory = enterprise("0367") + enterprise("0368", "375290000009", language="en", chats=(2002,))
    async with running(database.dsn, tmp_path, directory, rates=UNLIMITED) as service:
        yield service


@pytest.fixture
async def open_page(service, tmp_path):
    """Opens a page that has signed in by a one-use link."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=CHROMIUM,
            headless=True,
            args=ARGUMENTS,
            locale="ru-RU",
            viewport=WIDE,
        )
        problems = []

        def note(told):
            if told.type == "error" and "401" not in told.text:
                problems.append(told.text)

        async def open_it(*, scheme="light", size=WIDE):
            page = await browser.new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", note)
            await page.emulate_media(color_scheme=scheme)
            await page.set_viewport_size(size)
            await page.goto(f"{service.url}/login?key={service.service.sessions.new_link()}")
            await expect(page.locator("#state")).to_have_class("live")
            return page

        try:
            yield open_it
        finally:
            await browser.close()
        assert problems == []


async def play_slowly(service: Running, name, token=TOKEN, seed=1):
    """Plays a scenario, each event when the last is on the screen."""
    for event in catalogue()[name].events(1_777_885_200.0, seed, token=token):
        await service.store(event.kind, event.body)
        await service.shown()


async def test_one_message_goes_through_its_states_and_is_marked_edited(service: Running, open_page):
    page = await open_page()
    await expect(page.locator("#empty")).to_be_visible()
    played = catalogue()["2-1"].events(1_777_885_200.0, 1)
    text = page.locator("article > .text")
    seen = {
        "start": "📞 Звонок от",
        "dial": "📞 Дозвон от",
        "bridge": "🔗 Разговор:",
        "hangup": "✅ Завершен:",
    }
    for event in played:
        await service.store(event.kind, event.body)
        await service.shown()
        if event.kind in seen and event.kind != "bridge":
            await expect(text).to_contain_text(seen[event.kind])
        if event.kind == "bridge_leave":
            await expect(text).to_contain_text(seen["bridge"])
    await expect(page.locator("article")).to_have_count(1)
    await expect(text).to_contain_text("+375 (29) 000-01-01 ↔ Анна Серова (151)")
    await expect(page.locator("article .edited")).to_have_text("изменено ×3")
    await page.locator("article summary").click()
    await expect(page.locator("article li .text")).to_have_count(3)
    await expect(page.locator("#empty")).to_be_hidden()


async def test_what_was_shown_is_there_after_a_reload_and_chats_can_be_chosen(service: Running, open_page):
    page = await open_page()
    await play_slowly(service, "2-1")
    await play_slowly(service, "2-2", token="375290000009", seed=50)
    await page.reload()
    await expect(page.locator("nav button")).to_have_count(2)
    await page.locator("nav button", has_text="2002").click()
    await expect(page.locator("article > .text")).to_contain_text("❌ Not answered:")
    await page.locator("nav button", has_text="1001").click()
    await expect(page.locator("article > .text")).to_contain_text("✅ Завершен:")
    await expect(page.locator("article")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_the_page_fits_its_window_and_can_be_read(service: Running, open_page, tmp_path, scheme, size):
    page = await open_page(scheme=scheme, size=size)
    for seed, name in enumerate(("2-1", "2-2", "1-1", "3-1", "3-2"), 1):
        await play_slowly(service, name, seed=seed * 1000)
    await expect(page.locator("article")).to_have_count(5)
    await page.screenshot(path=tmp_path / "preview.png")
    wider = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0
    bubble = await page.locator("article").last.bounding_box()
    assert bubble is not None
    assert bubble["x"] >= 0
    assert bubble["x"] + bubble["width"] <= size["width"]
    assert bubble["y"] + bubble["height"] <= size["height"]
    contrast = await page.evaluate(CONTRAST)
    assert contrast >= 4.5, "WCAG AA for text"


async def test_what_comes_while_the_page_reads_is_not_lost(service: Running, open_page):
    page = await open_page()
    await play_slowly(service, "2-1")
    await expect(page.locator("article")).to_have_count(1)

    answered = asyncio.Event()

    async def slow(route):
        answer = await route.fetch()
        await play_slowly(service, "2-2", seed=5000)
        await expect(page.locator("article")).to_have_count(2)
        await route.fulfill(response=answer)
        answered.set()

    await page.route("**/preview/messages/*", slow, times=1)
    await page.locator("nav button", has_text="1001").click()
    async with asyncio.timeout(20):
        await answered.wait()
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
    await expect(page.locator("article")).to_have_count(2)
    await expect(page.locator("article > .text").last).to_contain_text("❌")


async def test_without_a_session_there_is_the_login(service: Running, open_page):
    page = await open_page()
    await page.context.clear_cookies()
    await page.goto(f"{service.url}/preview")
    await expect(page).to_have_url(f"{service.url}/login")
    await page.get_by_label("admin token").fill("wrong")
    await page.get_by_role("button").click()
    await expect(page.get_by_text("neither")).to_be_visible()


# Relative luminance and contrast of WCAG 2.2, of a bubble's text upon its bubble.
CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((one) => {
      const part = one / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const bubble = document.querySelector("article");
  const back = light(getComputedStyle(bubble).backgroundColor);
  const worst = [".text", "footer", "footer time", "summary"].map((part) => {
    const [high, low] = [light(getComputedStyle(bubble.querySelector(part)).color), back].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  });
  return Math.min(...worst);
}"""
