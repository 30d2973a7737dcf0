"""The page to try it, in headless Chromium against the server and the toy model.

Without a Chromium they are skipped, unless TFCLIC_TEST_BROWSER is 'required'.
"""

import asyncio
import base64
import contextlib
import io
import os
import re
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("aiohttp")
pytest.importorskip("tensorflow_serving")

from tfclic import runtime
from tfclic.serving import repository, server

PAGE = server.PAGE.read_text()
BROWSERS = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"


def test_nothing_comes_from_elsewhere():
    assert not re.search(r"https?://|@import|<script src|<link(?! rel=\"icon\" href=\"data:)", PAGE)
    assert "default-src 'none'" in PAGE


@contextlib.contextmanager
def listening(model):
    """Yields where a server with the page and a model, in this folder, listens."""
    loop = asyncio.new_event_loop()
    options = server.Options(port=None, rest_api_port=0, ui=True)
    served = server.Server(repository.Repository(model.parents[1]), options)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait_for(task):
        return asyncio.run_coroutine_threadsafe(task, loop).result(120)

    wait_for(served.start())
    yield f"http://127.0.0.1:{served.rest_port}"
    wait_for(served.stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def address(toy_model):
    """Where a server with the toy model and the page listens."""
    with listening(toy_model) as address:
        yield address


@pytest.fixture(scope="module")
def sliced_address(sliced_toy):
    """Likewise, with the toy that has slices."""
    with listening(sliced_toy) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, the system's or playwright's own."""
    try:
        from playwright import sync_api
    except ImportError:
        lacking("There is no playwright.")
    with sync_api.sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, BROWSERS)), None)
        try:
            started = playwright.chromium.launch(executable_path=path)
        except sync_api.Error as error:
            lacking(f"There is no Chromium that starts: {error}")
        yield started
        started.close()


def lacking(what):
    """Skips a test, or fails it where there has to be a browser (`.ci/run`)."""
    if os.environ.get("TFCLIC_TEST_BROWSER") == "required":
        pytest.fail(what)
    pytest.skip(what)


@contextlib.contextmanager
def paged(browser, address, query="", script=""):
    """Yields the page, whose models have come; fails on errors, and on requests to other places."""
    context = browser.new_context(viewport={"width": 375, "height": 700})
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url))
    page.add_init_script(script)
    page.goto(address + query)
    page.wait_for_selector("#model option", state="attached")
    yield page
    context.close()
    assert [each for each in wrong if not each.startswith((address, "blob:", "data:"))] == []


@pytest.fixture
def page(browser, address):
    """`paged`, with the toy."""
    with paged(browser, address) as page:
        yield page


@pytest.fixture
def pixels(make_pixels):
    return make_pixels(50, 70)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def drop(page, name, data):
    """Drops a file on the page, and waits until all has come of it."""
    give(page, name, data)
    settle(page)


def give(page, name, data):
    """Drops a file on the page."""
    before = page.evaluate(
        """([name, data]) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const given = new DataTransfer();
            given.items.add(new File([bytes], name));
            const event = new DragEvent("drop", {dataTransfer: given, cancelable: true});
            document.dispatchEvent(event);
            return document.getElementById("status").textContent;
        }""",
        [name, base64.b64encode(data).decode()],
    )
    assert before == f"Opening {name} ..."


def settle(page):
    page.wait_for_selector("#status:empty", state="attached")


def download(page):
    """The bytes that the button gives, and their name."""
    with page.expect_download() as given:
        page.click("#download")
    with open(given.value.path(), "rb") as file:
        return file.read(), given.value.suggested_filename


def rows(page):
    """The cells of the table, a dict of lists of str by format."""
    texts = [row.inner_text().split("\t") for row in page.locator("#sizes tr").all()]
    return {name: cells for name, *cells in texts}


def test_a_dropped_photograph_is_compressed_and_compared(page, pixels, toy_codec):
    drop(page, "a photo.png", png(pixels))
    data, name = download(page)
    assert name == "a photo.tfclic"
    assert np.array_equal(toy_codec.decompress(data), pixels)
    found = rows(page)
    rate = f"{8 * len(data) / pixels[..., 0].size:.3f}"
    assert found["tfclic"] == [f"{len(data):,}", rate, "equal"]
    for peer in ("JPEG", "WebP"):
        assert int(found[peer][0].replace(",", "")) <= len(data)
        assert float(found[peer][2].replace("equal", "inf")) > 30
    # at the width of a phone nothing is cut off
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_keys_move_the_divider(page, pixels):
    drop(page, "photo.png", png(pixels))
    clipped = "getComputedStyle(document.getElementById('left')).clipPath"
    page.focus("#split")
    page.keyboard.press("Home")
    assert "100%" in page.evaluate(clipped)
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert page.input_value("#split") == "99.5"
    assert "0.5%" in page.evaluate(clipped)
    outline = "getComputedStyle(document.getElementById('view')).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_a_pointer_moves_the_divider(page, pixels):
    drop(page, "photo.png", png(pixels))
    page.locator("#view").scroll_into_view_if_needed()
    box = page.locator("#view").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, middle, steps=3)
    page.mouse.up()
    assert float(page.input_value("#split")) == pytest.approx(25, abs=1.5)


def test_another_quality_is_another_file(page, pixels, toy_codec):
    drop(page, "photo.png", png(pixels))
    first, _ = download(page)
    page.focus("#quality")
    page.keyboard.press("Home")
    assert page.inner_text("#quality-value") == "0"
    page.locator("#sizes tr:first-child", has_not_text=f"{len(first):,}").wait_for()
    settle(page)
    second, _ = download(page)
    assert toy_codec.info(second)["quality"] == 0
    found = rows(page)
    assert found["tfclic"][0] == f"{len(second):,}" and float(found["tfclic"][2]) < 40


@pytest.mark.parametrize("peer", ["jpeg", "webp"])
def test_others_get_as_many_bytes_and_use_them(page, pixels, peer):
    drop(page, "photo.png", png(pixels))
    size = "async ([name, bytes]) => (await peer(photo.canvas, name, bytes)).blob.size"
    for limit in (1000, 1400):
        assert 0.8 * limit < page.evaluate(size, [peer, limit]) <= limit
    why = "async (name) => (await peer(photo.canvas, name, 10)).why"
    assert re.fullmatch(r"It cannot be this small: \d+ bytes at least.", page.evaluate(why, peer))
    unknown = page.evaluate("async () => (await peer(photo.canvas, 'tiff', 3000)).why")
    assert unknown == "This browser does not write it."


def test_the_map_of_bits_has_a_legend(page, pixels):
    drop(page, "photo.png", png(pixels))
    assert not page.is_visible("#heat") and not page.is_visible("#legend")
    page.check("#show-heat")
    assert page.is_visible("#heat")
    assert re.fullmatch(r"\d+\.\d\d bits per pixel", page.inner_text("#most"))
    # a cell is 16x16 pixels of the image
    view, heat = (page.locator(name).bounding_box() for name in ("#view", "#heat"))
    assert page.evaluate("document.getElementById('heat').width") == 5
    assert heat["width"] / view["width"] == pytest.approx(80 / 70, rel=0.01)
    assert heat["height"] / view["height"] == pytest.approx(64 / 50, rel=0.01)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_compressed_file_is_shown(page, make_pixels, toy_codec, channels):
    pixels = make_pixels(50, 70, channels)
    drop(page, "photo.tfclic", toy_codec.compress(pixels))
    data, name = download(page)
    assert name == "photo.png"
    assert np.array_equal(np.array(Image.open(io.BytesIO(data)))[..., :channels], pixels)
    assert not page.is_visible("#against") and not page.is_visible("#split")
    assert "70 x 50 pixels, by toy" in page.inner_text("#caption")


def test_a_small_picture_comes_first(page, pixels, toy_codec):
    held = []

    def hold(route):
        body = route.request.post_data_json
        is_whole = body["signature_name"] == "decompress" and "scales" not in body["inputs"]
        held.append(route) if is_whole else route.continue_()

    drop(page, "photo.png", png(pixels))
    page.check("#show-heat")
    page.route("**/*:predict", hold)
    give(page, "other.tfclic", toy_codec.compress(pixels[:40]))
    while not held:
        page.wait_for_timeout(10)
    width = "document.getElementById('coded').decode().then(() => coded.naturalWidth)"
    assert page.evaluate(width) == 9
    assert "the whole one comes" in page.inner_text("#status")
    view = page.locator("#view").bounding_box()
    assert view["width"] / view["height"] == pytest.approx(70 / 40, rel=0.01)
    for name in ("#left", "#heat", "#sizes", "#download", "#split", "#show-heat"):
        assert not page.is_visible(name)
    (whole,) = held
    whole.continue_()
    settle(page)
    assert page.evaluate(width) == 70
    for name in ("#heat", "#sizes", "#download", "#show-heat"):
        assert page.is_visible(name)


# What `fetch` answers for slow.tfclic: a stream that the test fills. Whenever the page looks at the
# clock it is later than it is patient.
SLOW = """
    const known = window.fetch;
    window.fetch = (path, ...how) => path !== "folder/slow.tfclic" ? known(path, ...how) :
      Promise.resolve(new Response(new ReadableStream({start(it) { window.slow = it; }})));
    window.come = (data) =>
      window.slow.enqueue(Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)));
    let clock = 0;
    performance.now = () => clock += 1000;
"""


@pytest.fixture(scope="module")
def long(sliced_toy, make_pixels):
    """A codec, and a file of it that has four tiles in a row."""
    codec = runtime.load(sliced_toy)
    return codec, codec.compress(make_pixels(60, 256), tile=64)


def come(page, data):
    page.evaluate("(data) => come(data)", base64.b64encode(data).decode())


def shown(page):
    """The pixels of the picture, uint8 [H, W, 3]."""
    found = page.evaluate(
        """async () => {
            const {width, height} = await createImageBitmap(coded);
            const pixels = pixelsOf(canvasOf(await createImageBitmap(coded)));
            return [height, width, Array.from(pixels)];
        }"""
    )
    return np.array(found[2], np.uint8).reshape(*found[:2], 4)[..., :3]


def test_a_file_is_shown_as_it_arrives(browser, sliced_address, long):
    codec, whole = long
    asked = []
    with paged(browser, sliced_address, "/?file=folder/slow.tfclic", SLOW) as page:
        page.on("request", lambda request: asked.append(request.post_data or ""))
        page.locator("#status", has_text="Opening slow.tfclic").wait_for()
        came = 0
        for share in (0.3, 0.7):
            came, before = int(share * len(whole)), came
            come(page, whole[before:came])
            page.locator("#status", has_text=f"first {100 * came // len(whole)} %").wait_for()
            assert np.array_equal(shown(page), codec.decompress_beginning(whole[:came])[0])
            assert not page.is_visible("#sizes") and not page.is_visible("#download")
        come(page, whole[came:])
        page.evaluate("slow.close()")
        settle(page)
        assert np.array_equal(shown(page), codec.decompress(whole))
        assert f"{len(whole):,}" == rows(page)["tfclic"][0]
        assert download(page)[1] == "slow.png"
    assert not any("scales" in body for body in asked)


def test_what_comes_soon_is_shown_when_it_is_there(browser, sliced_address, long):
    codec, whole = long
    asked = []
    with paged(browser, sliced_address) as page:
        page.on("request", lambda request: asked.append(request.post_data or ""))
        drop(page, "photo.tfclic", whole)
        assert np.array_equal(shown(page), codec.decompress(whole))
    assert not any("beginnings" in body for body in asked)
    assert sum("scales" in body for body in asked) == 1


@pytest.mark.parametrize("how", ["breaks off", "ends", "dropped"])
def test_of_a_file_without_its_end_the_beginning_is_shown(browser, sliced_address, long, how):
    codec, whole = long
    there = whole[: 2 * len(whole) // 3]
    with paged(browser, sliced_address, "/?file=folder/slow.tfclic", SLOW) as page:
        page.locator("#status", has_text="Opening slow.tfclic").wait_for()
        if how == "dropped":
            give(page, "slow.tfclic", there)
        else:
            come(page, there)
            # an error would drop what is not read yet
            while page.evaluate("slow.desiredSize") < 1:
                page.wait_for_timeout(10)
            page.evaluate("slow.error()" if how == "breaks off" else "slow.close()")
        page.locator("#error", has_text="The end of slow.tfclic is missing").wait_for()
        assert f"{len(there):,} bytes came" in page.inner_text("#error")
        assert np.array_equal(shown(page), codec.decompress_beginning(there)[0])


def test_models_without_slices_show_what_is_whole(browser, address, toy_codec, pixels):
    whole = toy_codec.compress(pixels)
    with paged(browser, address, "/?file=folder/slow.tfclic", SLOW) as page:
        page.locator("#status", has_text="Opening slow.tfclic").wait_for()
        with page.expect_response(lambda response: "predict" in response.url) as refused:
            come(page, whole[:-99])
        assert "does not read slices" in refused.value.text()
        assert not page.is_visible("#error") and not page.is_visible("#result")
        come(page, whole[-99:])
        page.evaluate("slow.close()")
        settle(page)
        assert np.array_equal(shown(page), pixels)


def test_addresses_are_of_this_server(browser, address):
    for query, sentence in (
        ("missing/photo.tfclic", "photo.tfclic is not there."),
        ("http://localhost:1/photo.jpg", "photo.jpg cannot be had; this page asks its own server"),
    ):
        with paged(browser, address, f"/?file={query}") as page:
            page.locator("#error", has_text=sentence).wait_for()


@pytest.mark.parametrize(
    "name, data, sentence",
    [
        ("junk.tfclic", b"junk", "not a tfclic file"),
        ("junk.jpg", b"junk", "junk.jpg is not an image that this browser can read."),
    ],
)
def test_errors_are_one_sentence_and_pass(page, pixels, name, data, sentence):
    drop(page, name, data)
    assert sentence in page.inner_text("#error")
    assert not page.is_visible("#result")
    drop(page, "photo.png", png(pixels))
    assert not page.is_visible("#error") and page.is_visible("#result")


def boxed(page, change):
    """What the file is once `change` has been done to the boxes, and the page has come to rest."""
    with page.expect_request(lambda request: "compress" in (request.post_data or "")):
        change()
    settle(page)
    return download(page)[0]


def drag(page, *corners):
    """Moves the pointer between two places in the view, (x, y) in shares of its sides."""
    page.locator("#view").scroll_into_view_if_needed()
    view = page.locator("#view").bounding_box()
    places = [(view["x"] + x * view["width"], view["y"] + y * view["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=3)
    page.mouse.up()


def area_of(page, number):
    """The `Area` that a line tells."""
    fields = page.locator(f"#areas li:nth-child({number}) input").all()
    return runtime.Area(*[int(field.input_value()) for field in fields], False)


def test_dragged_boxes_have_a_quality_of_their_own(page, pixels, toy_codec):
    drop(page, "photo.png", png(pixels))
    boxed(page, lambda: page.fill("#quality", "10"))
    page.check("#draw")
    first = boxed(page, lambda: drag(page, (0.5, 0.6), (0.2, 0.1)))
    area = area_of(page, 1)
    assert area == pytest.approx((14, 5, 21, 25, 50, 0), abs=1)
    assert first == toy_codec.compress(pixels, 10, areas=[area])
    second = boxed(page, lambda: drag(page, (0.6, 0.5), (2, 2)))
    areas = [area, area_of(page, 2)]
    x, y, width, height = areas[1][:4]
    assert (x + width, y + height) == (70, 50)
    assert second == toy_codec.compress(pixels, 10, areas=areas)
    # where the boxes are drawn
    view, box = (page.locator(name).bounding_box() for name in ("#view", "#boxes div >> nth=0"))
    assert (box["x"] - view["x"]) / view["width"] == pytest.approx(area.x / 70, abs=0.01)
    assert box["height"] / view["height"] == pytest.approx(area.height / 50, abs=0.01)
    # a click is no box; without the tick the pointer moves the divider
    drag(page, (0.1, 0.1), (0.1, 0.1))
    page.uncheck("#draw")
    drag(page, (0.5, 0.5), (0.25, 0.5))
    assert page.locator("#areas li").count() == page.locator("#boxes div").count() == 2
    assert float(page.input_value("#split")) == pytest.approx(25, abs=1.5)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_keys_make_boxes_change_and_clear_them(page, pixels, toy_codec):
    drop(page, "photo.png", png(pixels))
    even = boxed(page, lambda: page.press("#quality", "Home"))

    def press(name):
        page.get_by_role("button", name=name, exact=True).press("Enter")

    def change(label, value):
        page.get_by_role("spinbutton", name=label).fill(value)
        page.keyboard.press("Tab")

    boxed(page, lambda: press("Add one"))
    assert area_of(page, 1) == (18, 13, 35, 25, 40, False)
    boxed(page, lambda: change("left", "60"))
    assert area_of(page, 1) == (60, 13, 10, 25, 40, False)
    for value, kept in (("", 40), ("101", 100)):
        with_box = boxed(page, lambda value=value: change("quality", value))
        assert area_of(page, 1) == (60, 13, 10, 25, kept, False)
    assert with_box == toy_codec.compress(pixels, 0, areas=[area_of(page, 1)]) != even
    boxed(page, lambda: press("Add one"))

    def remove():
        press("Remove box 1")
        assert page.evaluate("document.activeElement.id") == "add-area"

    boxed(page, remove)
    assert area_of(page, 1) == (18, 13, 35, 25, 40, False)
    assert boxed(page, lambda: press("Clear")) == even
    assert not page.locator("#areas li, #boxes div").count() and page.is_disabled("#clear-areas")


def test_boxes_go_with_their_photograph(page, pixels, toy_codec):
    drop(page, "photo.png", png(pixels))
    boxed(page, lambda: page.click("#add-area"))
    drop(page, "other.png", png(pixels[::-1]))
    assert download(page)[0] == toy_codec.compress(pixels[::-1])
    boxed(page, lambda: page.click("#add-area"))
    drop(page, "photo.tfclic", toy_codec.compress(pixels))
    assert not page.locator("#areas li, #boxes div").count()
    assert not page.is_visible("#areas-field")


def test_everything_has_a_name(page, pixels):
    drop(page, "photo.png", png(pixels))
    boxed(page, lambda: page.click("#add-area"))
    for control in page.locator("input, select").all():
        assert control.evaluate("each => each.labels.length > 0 || each.ariaLabel"), control
