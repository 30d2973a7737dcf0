"""Whose turn it is when memory is short."""

import threading

import grpc
import numpy as np
import pytest

from tfclic import images
from tfclic.format import header, picture
from tfclic.serving import admission, memory
from tfclic.serving.client import predict_request
from tfclic.serving.memory import NOTHING, Amount
from tfclic.serving.refusals import Refusal, StatusCode

SECONDS = 60
MOST = 1 << 26


def need(count):
    return Amount(count, count)


class Pool:
    """Memory of 100 bytes, which requests take and give back, and a line to it."""

    def __init__(self, wait_until, free=100, **options):
        self._wait_until = wait_until
        self.free, self.begun, self._going = free, [], {}
        self.line = admission.Admission(lambda: need(self.free), **options)
        self.refused = []

    def ask(self, name, count, taken=0):
        """Asks in a thread; returns once it has begun, is in the line, or is refused."""
        gone, end = threading.Event(), threading.Event()

        def work():
            try:
                with self.line.admitted(need(count), lambda: not gone.is_set()):
                    self.free -= taken
                    self.begun.append(name)
                    assert end.wait(SECONDS)
                    self.free += taken
            except Refusal as refusal:
                self.refused.append((name, refusal))

        thread = threading.Thread(target=work)
        self._going[name] = (thread, end, gone)
        before = self.line.count()
        thread.start()
        self._wait_until(
            lambda: name in self.begun or self._is_refused(name) or self.line.count() > before
        )

    def _is_refused(self, name):
        return name in [each for each, _ in self.refused]

    def end(self, name):
        thread, end, _ = self._going[name]
        end.set()
        thread.join(SECONDS)

    def leave(self, name):
        thread, _, gone = self._going[name]
        gone.set()
        thread.join(SECONDS)


def test_what_fits_begins_at_once(wait_until):
    pool = Pool(wait_until)
    pool.ask("a", 60, taken=10)
    pool.ask("b", 40, taken=40)
    wait_until(lambda: pool.begun == ["a", "b"])
    assert pool.line.held == need(100) and pool.line.count() == 0
    pool.end("a"), pool.end("b")
    assert pool.line.held == NOTHING and not pool.refused


def test_what_fits_alone_waits_until_there_is_room(wait_until):
    pool = Pool(wait_until)
    # it has not taken what it may take, which counts all the same
    pool.ask("a", 60, taken=1)
    pool.ask("b", 50)
    assert pool.begun == ["a"] and pool.line.count() == 1
    pool.end("a")
    wait_until(lambda: pool.begun == ["a", "b"])
    pool.end("b")
    assert not pool.refused


def test_nobody_overtakes(wait_until):
    pool = Pool(wait_until)
    pool.ask("a", 60)
    pool.ask("b", 90)
    pool.ask("c", 1)
    assert pool.begun == ["a"] and pool.line.count() == 2
    pool.end("a")
    wait_until(lambda: pool.begun == ["a", "b", "c"])
    pool.end("b"), pool.end("c")


@pytest.mark.parametrize("others", [0, 1])
def test_what_never_fits_is_refused_at_once(others, wait_until):
    pool = Pool(wait_until)
    for number in range(others):
        pool.ask(number, 60)
    pool.ask("large", 5 << 20)
    wait_until(lambda: pool.refused)
    ((_, refusal),) = pool.refused
    assert refusal.code is StatusCode.RESOURCE_EXHAUSTED
    assert str(refusal) == "The request may take 5 MiB of memory, and the server has 0 for it."
    assert pool.line.count() == 0 and pool.line.held == need(60 * others)
    for number in range(others):
        pool.end(number)


def test_others_take_memory_too(wait_until):
    pool = Pool(wait_until)
    pool.ask("a", 30)
    pool.free = 20  # and not by requests
    pool.ask("b", 40)
    assert pool.begun == ["a"]
    pool.free = 70
    wait_until(lambda: pool.begun == ["a", "b"])
    pool.end("a"), pool.end("b")


def test_what_the_process_keeps_is_given_back_before_anything_is_refused(wait_until):
    pool = Pool(wait_until, free=50, give_back=lambda: setattr(pool, "free", 100))
    pool.ask("a", 50)
    assert pool.free == 50
    pool.end("a")
    pool.ask("b", 80)
    wait_until(lambda: pool.begun == ["a", "b"])
    assert pool.free == 100
    pool.end("b")


def test_who_is_gone_leaves_the_line(wait_until):
    pool = Pool(wait_until)
    pool.ask("a", 60)
    pool.ask("b", 50)
    pool.ask("c", 40)
    pool.leave("b")
    wait_until(lambda: pool.begun == ["a", "c"])
    assert [refusal.code for _, refusal in pool.refused] == [StatusCode.DEADLINE_EXCEEDED]
    pool.end("a"), pool.end("c")


def test_what_nothing_is_known_of_does_not_wait(wait_until):
    pool = Pool(wait_until, free=-1)
    pool.ask("a", 0)
    wait_until(lambda: pool.begun == ["a"])
    pool.end("a")


def test_what_fails_holds_nothing(wait_until):
    pool = Pool(wait_until)
    with pytest.raises(ValueError), pool.line.admitted(need(60), lambda: True):
        assert pool.line.held == need(60)
        raise ValueError
    assert pool.line.held == NOTHING


def strings(*data):
    array = np.empty(len(data), object)
    array[:] = data
    return array


def of_images(*sides, **more):
    pngs = [images.encode(np.zeros([*each, 3], np.uint8), "x.png") for each in sides]
    return admission.estimate("compress", {"images": strings(*pngs), **more}, MOST)


def file(width, height, tile=None):
    """The beginning of a file that claims to be so large."""
    tiles = (-(-height // tile)) * (-(-width // tile)) if tile else 1
    sides = (tile, tile) if tile else map(header.whole_side, (height, width))
    fields = header.Header(False, b"1234", 0, width, height, *sides, (1,) * tiles, bytes(tiles))
    return header.pack(fields, lambda _: bytes(4))


def of_files(*files, signature="decompress", **more):
    return admission.estimate(signature, {"files": strings(*files), **more}, MOST)


def test_estimates_grow_with_pixels_and_with_tiles():
    small, tile, wide = of_images((64, 64)), of_images((1024, 1024)), of_images((1024, 4096))
    assert small.fits(tile) and tile.fits(wide)
    cost = admission.COSTS["compress"]
    # beyond a tile only the pixels themselves, and what is computed around a tile
    assert wide.space - tile.space < 3.2 * (1 << 20) * cost.image.space + (1 << 20) * 300
    assert tile.space - small.space > 0.9 * (1 << 20) * cost.tile.space


def test_of_a_batch_the_largest_tile_counts_and_all_pixels():
    one, two = of_images((512, 512)), of_images((512, 512), (512, 512))
    cost = admission.COSTS["compress"]
    assert two.resident - one.resident == pytest.approx(512 * 512 * cost.image.resident, rel=0.01)


def test_files_say_their_tiles():
    assert header.claimed_tile(file(3000, 2000)) == (3000, 2000)
    assert header.claimed_tile(file(3000, 2000, 512)) == (512, 512)
    assert header.claimed_tile(b"garbage") is None
    assert of_files(file(3000, 2000, 512)).space < of_files(file(3000, 2000)).space / 2


def test_a_file_with_something_beside_its_image_is_estimated_by_the_image():
    plain = file(3000, 2000)
    dressed = picture.pack(picture.Picture(plain, picture.Metadata(exif=b"II*\0" + bytes(9))))
    assert of_files(dressed).space == pytest.approx(of_files(plain).space, rel=0.001)


def test_kinds_that_take_more():
    plain = of_images((512, 512))
    assert of_images((512, 512), areas=strings(b"")) == plain
    assert plain.fits(of_images((512, 512), areas=strings(b"0,0,9,9")))
    assert of_images((512, 512), efforts=np.zeros(1, np.int32)) == plain
    assert of_images((512, 512), efforts=np.ones(1, np.int32)).space > 1.5 * plain.space
    assert of_files(file(512, 512), signature="info").space < plain.space / 3


def test_what_is_refused_anyway_counts_nothing():
    fixed = of_files(b"garbage")
    assert of_files(file(1 << 14, 1 << 13, 1024)).space == pytest.approx(fixed.space, rel=0.01)
    assert admission.estimate("unknown", {"files": strings(b"x")}, MOST) == NOTHING
    assert admission.estimate("compress", {"images": np.zeros(2)}, MOST).space <= fixed.space


@pytest.fixture
def room(monkeypatch):
    """A dict whose "free" is what servers believe to have, bytes of each kind."""
    found = {"free": 1 << 40}
    monkeypatch.setattr(memory.Room, "free", lambda self: need(found["free"]))
    return found


def compression(png):
    return predict_request("toy", "compress", {"images": [png], "qualities": np.float32([50])})


def test_a_server_refuses_what_never_fits_and_goes_on(serving, toy_model, pngs, room, ask):
    large = images.encode(np.zeros([512, 512, 3], np.uint8), "x.png")
    room["free"] = 200 << 20
    with serving(toy_model.parents[1]) as started:
        with pytest.raises(grpc.RpcError) as caught:
            started.prediction.Predict(compression(large))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "MiB of memory, and the server has 200 for it." in caught.value.details()
        assert started.prediction.Predict(compression(pngs[0])).outputs["statuses"].string_val
        room["free"] = 1 << 30
        assert started.prediction.Predict(compression(large)).outputs["statuses"].string_val


def test_a_server_lets_wait_what_fits_alone(serving, toy_model, pngs, room, slow, wait_until):
    import urllib.request

    begun, go_on, calls = slow
    go_on.set()  # for warm-up
    room["free"] = 200 << 20
    with serving(toy_model.parents[1], concurrency=2) as started:
        calls.clear(), begun.clear(), go_on.clear()
        futures = [started.prediction.Predict.future(compression(png)) for png in 2 * pngs[:1]]
        assert begun.wait(SECONDS)
        line = started.server._predictor._line
        wait_until(lambda: line.count() == 1)
        url = started.url + "/monitoring/prometheus/metrics"
        lines = urllib.request.urlopen(url, timeout=60).read().decode().splitlines()
        assert "tfclic_serving_memory_waiting 1.0" in lines
        held = next(each for each in lines if each.startswith("tfclic_serving_memory_held_bytes "))
        assert float(held.split()[1]) == line.held.resident > 0
        assert len(calls) == 1
        go_on.set()
        answers = [each.result(SECONDS).outputs["statuses"].string_val[0] for each in futures]
        assert answers == [b"OK", b"OK"] and len(calls) == 2


def test_a_deadline_ends_the_waiting_for_memory(serving, toy_model, pngs, room, slow, wait_until):
    begun, go_on, calls = slow
    go_on.set()
    room["free"] = 200 << 20
    with serving(toy_model.parents[1], concurrency=2) as started:
        calls.clear(), begun.clear(), go_on.clear()
        first = started.prediction.Predict.future(compression(pngs[0]))
        assert begun.wait(SECONDS)
        with pytest.raises(grpc.RpcError) as caught:
            started.prediction.Predict(compression(pngs[0]), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: started.server._workers.pending() == 1)
        go_on.set()
        first.result(SECONDS)
        assert len(calls) == 1


@pytest.mark.skipif(not memory.Room(1)._used(1), reason="there is no /proc")
def test_a_server_heeds_what_it_was_told(serving, toy_model, pngs):
    with serving(toy_model.parents[1], max_memory=1 << 20) as started:
        with pytest.raises(grpc.RpcError) as caught:
            started.prediction.Predict(compression(pngs[0]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details().endswith("MiB of memory, and the server has 0 for it.")
