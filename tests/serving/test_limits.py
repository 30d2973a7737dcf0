"""What protects the server: its queue, deadlines, and images of bounded size."""

import grpc
import numpy as np
import pytest
from PIL import Image

from tfclic import images
from tfclic.format import header
from tfclic.serving import limits
from tfclic.serving.client import predict_request
from tfclic.serving.refusals import Refusal

SECONDS = 60


def pending(started):
    return started.server._workers.pending()


def test_a_full_queue_refuses_and_the_server_goes_on(
    serving, scaling_folder, ask, slow, wait_until
):
    begun, go_on, calls = slow
    with serving(scaling_folder, concurrency=1, queue=1) as started:
        first = started.prediction.Predict.future(ask([1]))
        assert begun.wait(SECONDS)
        second = started.prediction.Predict.future(ask([2]))
        wait_until(lambda: pending(started) == 2)
        with pytest.raises(grpc.RpcError) as caught:
            started.prediction.Predict(ask([3]))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "busy" in caught.value.details()
        go_on.set()
        answers = [each.result(SECONDS).outputs["y"] for each in (first, second)]
        assert [np.frombuffer(each.tensor_content, np.float32)[0] for each in answers] == [2, 4]
        wait_until(lambda: pending(started) == 0)
        started.prediction.Predict(ask([3]))
        assert len(calls) == 3


def test_only_so_many_begin_in_a_second():
    now = [100.0]
    rate = limits.Rate(4, lambda: now[0])
    assert [rate.take() for _ in range(6)] == [True] * 4 + [False] * 2
    now[0] += 0.5
    assert [rate.take() for _ in range(3)] == [True, True, False]
    now[0] += 3600  # what was not taken is not saved
    assert [rate.take() for _ in range(5)] == [True] * 4 + [False]
    slow = limits.Rate(0.1, lambda: now[0])
    assert slow.take() and not slow.take()
    now[0] += 10.1
    assert slow.take()
    assert all(limits.Rate(0, lambda: now[0]).take() for _ in range(1000))


def test_requests_beyond_the_rate_are_refused(serving, scaling_folder, ask):
    with serving(scaling_folder, rate=0.001) as started:
        started.prediction.Predict(ask([1]))
        with pytest.raises(grpc.RpcError) as caught:
            started.prediction.Predict(ask([1]))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        told = "The server takes 0.001 requests a second; try again later."
        assert caught.value.details() == told
        assert pending(started) == 0


def test_want_of_memory_is_a_refusal_and_the_server_goes_on(
    serving, scaling_folder, ask, monkeypatch
):
    def hungry(*_):
        raise MemoryError

    with serving(scaling_folder) as started:
        with monkeypatch.context() as patch:
            patch.setattr(limits, "check_pixels", hungry)
            with pytest.raises(grpc.RpcError) as caught:
                started.prediction.Predict(ask([1]))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.details() == "The server has not enough memory for this request."
        started.prediction.Predict(ask([1]))


def test_work_whose_deadline_has_passed_is_not_begun(
    serving, scaling_folder, ask, slow, wait_until
):
    begun, go_on, calls = slow
    with serving(scaling_folder, concurrency=1) as started:
        first = started.prediction.Predict.future(ask([1]))
        assert begun.wait(SECONDS)
        with pytest.raises(grpc.RpcError) as caught:
            started.prediction.Predict(ask([2]), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: pending(started) == 1)
        go_on.set()
        first.result(SECONDS)
        started.prediction.Predict(ask([3]))
        assert len(calls) == 2


def test_work_whose_client_is_gone_is_not_begun(serving, scaling_folder, ask, slow, wait_until):
    begun, go_on, calls = slow
    with serving(scaling_folder, concurrency=1) as started:
        first = started.prediction.Predict.future(ask([1]))
        assert begun.wait(SECONDS)
        second = started.prediction.Predict.future(ask([2]))
        wait_until(lambda: pending(started) == 2)
        second.cancel()
        wait_until(lambda: pending(started) == 1)
        go_on.set()
        first.result(SECONDS)
        started.prediction.Predict(ask([3]))
        assert len(calls) == 2


def test_large_requests_are_refused(serving, scaling_folder, ask):
    with serving(scaling_folder, max_bytes=10_000) as started:
        with pytest.raises(grpc.RpcError) as caught:
            started.prediction.Predict(ask([1.0] * 5000))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        started.prediction.Predict(ask([1.0]))


def test_large_images_are_refused_by_their_headers(toy_server, toy_codec, make_pixels):
    pixels = make_pixels(51, 50)
    png = images.encode(pixels, "x.png")
    # the rest of them is not looked at
    for signature, inputs in (
        ("compress", {"images": [png[: len(png) // 2]], "qualities": np.array([50], np.float32)}),
        ("decompress", {"files": [toy_codec.compress(pixels)[:40]]}),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            toy_server.prediction.Predict(predict_request("toy", signature, inputs))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "[0] has more pixels than the 2,500" in caught.value.details()


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "GIF", "BMP"])
def test_sizes_of_images_are_in_their_headers(tmp_path, format_):
    path = tmp_path / "image"
    Image.new("L", (300, 200)).save(path, format_)
    assert limits.image_size(path.read_bytes()) == (300, 200)


def test_what_is_too_large_is_for_the_server_to_say(monkeypatch, make_pixels):
    png = images.encode(make_pixels(30, 40), "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert limits.image_size(png) == (40, 30)
    limits.check_pixels({"images": np.array([png], object)}, 1200)


def test_what_is_no_image_has_no_size():
    for data in (b"", b"garbage", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"):
        assert limits.image_size(data) is None


def test_an_image_of_absurd_size_is_over_any_limit():
    png = bytearray(images.encode(np.zeros([2, 2, 3], np.uint8), "x.png"))
    png[16:24] = (1 << 20).to_bytes(4, "big") * 2
    # its checksum is wrong now, which must not save it
    strings = np.array([bytes(png)], object)
    size = limits.image_size(bytes(png))
    assert size is None or size[0] * size[1] >= 1 << 31
    if size is not None:
        with pytest.raises(Refusal, match="more pixels"):
            limits.check_pixels({"images": strings}, 1 << 26)


@pytest.mark.parametrize("size", [(1, 1), (127, 128), (300, 20_000)])
def test_files_claim_their_size(toy_codec, size):
    data = toy_codec.compress(np.zeros(size, np.uint8))
    assert header.claimed_size(data) == size[::-1]
    for length in range(12):
        assert header.claimed_size(data[:length]) is None
    assert header.claimed_size(b"XYZ" + data[3:]) is None
