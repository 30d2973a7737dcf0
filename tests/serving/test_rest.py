"""TensorFlow Serving's REST interface, asked by plain HTTP."""

import base64
import json
import urllib.error
import urllib.request

import pytest

MODEL = "/v1/models/toy"


def ask(server, path, body=None):
    """(status, answer) of a GET, or of a POST of a body: bytes, or what JSON can say."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(server.url + path, body, 60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


@pytest.mark.parametrize("path", [MODEL, MODEL + "/versions/1"])
def test_columns(toy_server, toy_codec, pictures, pngs, path):
    inputs = {"images": [b64(png) for png in pngs], "qualities": [20, 80.0]}
    body = {"signature_name": "compress", "inputs": inputs}
    status, answer = ask(toy_server, path + ":predict", body)
    files = [toy_codec.compress(*pair) for pair in zip(pictures, (20, 80))]
    outputs = {"files_bytes": [b64(file) for file in files], "statuses": ["OK", "OK"]}
    assert (status, answer) == (200, {"outputs": outputs})


def test_rows(toy_server, toy_codec, pictures, pngs):
    rows = [{"images": b64(png), "qualities": 70} for png in (*pngs, b"garbage")]
    body = {"signature_name": "compress", "instances": rows}
    status, answer = ask(toy_server, MODEL + ":predict", body)
    assert status == 200
    for row, pixels in zip(answer["predictions"], pictures):
        assert row == {"files_bytes": b64(toy_codec.compress(pixels, 70)), "statuses": "OK"}
    bad = {"files_bytes": {"b64": ""}, "statuses": "It is not a PNG, JPEG, GIF or BMP image."}
    assert answer["predictions"][2] == bad


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_the_only_input_needs_no_name(toy_server, toy_codec, pictures, form):
    file = toy_codec.compress(pictures[0])
    body = {"signature_name": "info", form: [b64(file), b64(file)]}
    status, answer = ask(toy_server, MODEL + ":predict", body)
    assert status == 200
    widths = {
        "instances": lambda: [row["width"] for row in answer["predictions"]],
        "inputs": lambda: answer["outputs"]["width"],
    }
    assert widths[form]() == [40, 40]


def test_the_only_output_has_no_name(serving, scaling_folder):
    with serving(scaling_folder) as started:
        path = "/v1/models/scaling:predict"
        assert ask(started, path, {"instances": [1, 2.5]}) == (200, {"predictions": [2.0, 5.0]})
        assert ask(started, path, {"inputs": {"x": [1]}}) == (200, {"outputs": [2.0]})


def compress(**given):
    return {"signature_name": "compress", **given}


REFUSED = {
    "no JSON": (b"\xff{", "not JSON"),
    "deep JSON": (b"[" * 100_000, "not JSON"),
    "a list": ([], "an object"),
    "neither rows nor columns": (compress(), "either"),
    "both": (compress(instances=[], inputs={}), "either"),
    "no rows": (compress(instances=[]), "at least one"),
    "no names": (compress(instances=[b64(b"")]), "named: images, qualities"),
    "different names": (compress(instances=[{"images": "", "qualities": 1}, {}]), "same inputs"),
    "text for a number": (compress(inputs={"images": [""], "qualities": ["x"]}), "type float"),
    "a number for text": (compress(inputs={"images": [1], "qualities": [1]}), "type string"),
    "no base64": (compress(inputs={"images": [{"b64": "?"}], "qualities": [1]}), "not base64"),
    "ragged lists": (compress(inputs={"images": [[""], []], "qualities": [1]}), "one length"),
    "another depth": (compress(inputs={"images": [[""], ""], "qualities": [1]}), "one depth"),
    "an unknown input": (compress(inputs={"pictures": [""]}), "no input 'pictures'"),
    "an unknown signature": ({"signature_name": "x", "inputs": [""]}, "no signature 'x'"),
    "a number for a name": ({"signature_name": 3, "inputs": [""]}, "is a string"),
    "a huge body": (b" " * (2 << 20), "larger than this server takes"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_malformed_requests_are_refused_in_a_sentence(toy_server, wrong):
    body, expected = REFUSED[wrong]
    status, answer = ask(toy_server, MODEL + ":predict", body)
    assert status == 400 and set(answer) == {"error"}
    assert expected in answer["error"] and answer["error"].endswith(".")


def test_a_body_that_is_not_what_its_headers_say_is_refused_in_a_sentence(toy_server):
    request = urllib.request.Request(
        toy_server.url + MODEL + ":predict", b"{}", {"Content-Encoding": "gzip"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    found = json.loads(caught.value.read())
    assert (caught.value.code, found) == (
        400,
        {"error": "The request's body is not what its headers say."},
    )


def test_what_is_not_there_is_not_found(toy_server):
    for path in ("/v1/models/other", MODEL + "/versions/9", "/v1/models/other/metadata"):
        status, answer = ask(toy_server, path)
        assert status == 404 and answer["error"].startswith("There is no ")
    assert ask(toy_server, "/other")[0] == 404
    assert ask(toy_server, MODEL + ":predict")[0] == 405


def test_status_and_metadata(toy_server):
    good = {"error_code": "OK", "error_message": ""}
    expected = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": good}]}
    assert ask(toy_server, MODEL) == ask(toy_server, MODEL + "/versions/1") == (200, expected)
    status, answer = ask(toy_server, MODEL + "/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "toy", "signature_name": "", "version": "1"}
    compress = answer["metadata"]["signature_def"]["signature_def"]["compress"]
    assert compress["inputs"]["images"]["dtype"] == "DT_STRING"
    assert compress["inputs"]["images"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]


def test_metrics_count_what_was_answered_and_what_was_not(serving, scaling_folder):
    with serving(scaling_folder) as started:
        path = "/v1/models/scaling:predict"
        for body in ({"instances": [1]}, {"instances": [2]}, {"instances": ["x"]}):
            ask(started, path, body)
        ask(started, "/v1/models/other:predict", {"instances": [1]})
        url = started.url + "/monitoring/prometheus/metrics"
        lines = urllib.request.urlopen(url, timeout=60).read().decode().splitlines()
    count = ":tensorflow:serving:request_count"
    assert f'{count}{{model_name="scaling",status="OK"}} 2.0' in lines
    assert f'{count}{{model_name="scaling",status="INVALID_ARGUMENT"}} 1.0' in lines
    assert f'{count}{{model_name="",status="NOT_FOUND"}} 1.0' in lines
    labels = '{API="Predict",entrypoint="REST",model_name="scaling"}'
    assert f":tensorflow:serving:request_latency_count{labels} 2.0" in lines
    assert 'tfclic_serving_available{model_name="scaling",version="1"} 1.0' in lines


def test_the_page_is_shown_if_asked_for(serving, scaling_folder, tmp_path, monkeypatch):
    from tfclic.serving import server

    page = tmp_path / "page.html"
    page.write_text("<!doctype html>")
    monkeypatch.setattr(server, "PAGE", page)
    with serving(scaling_folder, ui=True) as started:
        with urllib.request.urlopen(started.url + "/", timeout=60) as answer:
            assert answer.read() == b"<!doctype html>"
            assert answer.headers["Content-Type"].startswith("text/html")
    with serving(scaling_folder) as started:
        assert ask(started, "/")[0] == 404
