import io

import pytest
import tensorflow as tf

from tfclic.training import progress

METRICS = {"loss": 2.0, "bpp": 0.5, "psnr": 30.0, "skipped": 0.0}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run_steps(stream, folder, metrics):
    shown = progress.Progress(len(metrics), 0, 4, 2, folder, stream)
    for number, values in enumerate(metrics, 1):
        shown.begin()
        shown.add(number, values)
    return shown


def test_a_log_gets_the_means_of_each_interval(tmp_path):
    stream = io.StringIO()
    steps = [METRICS, {**METRICS, "loss": 4.0}, METRICS, METRICS]
    shown = run_steps(stream, tmp_path, steps)
    shown.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("step 2/4  loss 3.0000  bpp 0.500  psnr 30.00 dB")
    assert "images/s" in lines[0]
    assert lines[1].endswith("00:00 left")
    assert shown.seconds > 0


def test_skipped_steps_are_counted_and_not_averaged(tmp_path):
    stream = io.StringIO()
    bad = {**METRICS, "loss": 1e9, "skipped": 1.0}
    shown = run_steps(stream, tmp_path, [METRICS, bad])
    assert "loss 2.0000" in stream.getvalue()
    assert stream.getvalue().strip().endswith("1 steps skipped")
    assert shown.skipped == 1


def test_a_terminal_gets_one_live_line(tmp_path):
    stream = Terminal()
    shown = run_steps(stream, tmp_path, [METRICS] * 5)
    shown.say("a line of its own")
    shown.close()
    text = stream.getvalue()
    assert text.count("\n") == 2
    assert "a line of its own\n" in text
    assert "step 5/5" in text
    assert "30.00 dB" in text


def test_tensorboard_gets_scalars_and_pictures(tmp_path):
    stream = io.StringIO()
    shown = run_steps(stream, tmp_path, [METRICS] * 2)
    columns = {"lmbda": [0.01], "loss": [1.5], "bpp": [0.5], "psnr": [31.0]}
    picture = tf.zeros([8, 24, 3], tf.uint8).numpy()
    shown.validated(2, {"mean_loss": 1.5, **columns}, [picture])
    assert "validation loss 1.5000  0.500 bpp 31.00 dB" in stream.getvalue()
    shown.validated(4, {"mean_loss": 1.5, **columns}, [], -3.21)
    shown.close()
    assert "loss 1.5000  -3.2 % against its start  0.500 bpp" in stream.getvalue()
    tags = {"train": set(), "validation": set()}
    for kind, found in tags.items():
        (file,) = (tmp_path / kind).glob("events*")
        for record in tf.compat.v1.train.summary_iterator(str(file)):
            found.update(value.tag for value in record.summary.value)
    assert {"loss", "bpp", "psnr", "images_per_second"} <= tags["train"]
    assert tags["validation"] == {
        "loss",
        "bd_rate",
        "loss/lambda_0.01",
        "bpp/lambda_0.01",
        "psnr/lambda_0.01",
        "image_0",
    }


def test_validation_time_is_not_training_time(tmp_path, monkeypatch):
    clock = iter([0.0, 1.0, 50.0, 52.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    shown = run_steps(io.StringIO(), tmp_path, [METRICS] * 2)
    assert shown.seconds == pytest.approx(3.0)
