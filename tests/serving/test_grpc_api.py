"""TensorFlow Serving's gRPC interface, asked by its stock stubs."""

import io

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


def request(signature, model="toy", **inputs):
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        made.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return made


def refused(call, *arguments):
    """The (code, sentence) that a call is refused with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    sentence = caught.value.details()
    assert sentence.endswith(".") and "\n" not in sentence and "/" not in sentence
    return caught.value.code(), sentence


def test_files_and_images_are_those_made_in_process(toy_server, toy_codec, pictures, pngs):
    qualities = np.array([20, 80], np.float32)
    answer = toy_server.prediction.Predict(request("compress", images=pngs, qualities=qualities))
    files = tf.make_ndarray(answer.outputs["files_bytes"]).tolist()
    assert files == [toy_codec.compress(*pair) for pair in zip(pictures, (20, 80))]
    assert answer.model_spec.version.value == 1
    assert answer.model_spec.signature_name == "compress"
    answer = toy_server.prediction.Predict(request("decompress", files=files))
    for file, png in zip(files, tf.make_ndarray(answer.outputs["images_bytes"])):
        assert np.array_equal(np.array(Image.open(io.BytesIO(png))), toy_codec.decompress(file))


def test_a_bad_element_does_not_harm_the_others(toy_server, pngs):
    images = [pngs[0], b"garbage", pngs[0][:200], pngs[1]]
    qualities = np.full([4], 100, np.float32)
    answer = toy_server.prediction.Predict(request("compress", images=images, qualities=qualities))
    statuses = tf.make_ndarray(answer.outputs["statuses"]).tolist()
    assert statuses[0] == statuses[3] == b"OK"
    assert b"not a PNG" in statuses[1] and b"damaged" in statuses[2]
    sizes = [len(file) for file in tf.make_ndarray(answer.outputs["files_bytes"])]
    assert sizes[1:3] == [0, 0] and sizes[0] and sizes[3]


def test_outputs_can_be_chosen(toy_server, toy_codec, pictures):
    made = request("info", files=[toy_codec.compress(pictures[0])])
    made.output_filter.extend(["width", "height"])
    answer = toy_server.prediction.Predict(made)
    found = {name: tf.make_ndarray(each).tolist() for name, each in answer.outputs.items()}
    assert found == {"width": [40], "height": [30]}
    made.output_filter.append("depth")
    code, sentence = refused(toy_server.prediction.Predict, made)
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "depth" in sentence


HALF = np.array([50], np.float32)
WRONG = {
    "a type": (
        {"images": [b""], "qualities": np.array([50])},
        "has to be of type float, not int64",
    ),
    "a shape": ({"images": [b""], "qualities": HALF[None]}, r"of shape [any], not [1, 1]"),
    "a missing input": ({"images": [b""]}, "needs the input 'qualities'"),
    "an unknown input": ({"images": [b""], "qualities": HALF, "x": HALF}, "has no input 'x'"),
    "lengths": ({"images": [b"", b""], "qualities": HALF}, "have to be of one length"),
    "an unserved type": ({"images": [b""], "qualities": HALF.astype(np.float16)}, "not taken"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_inputs_are_refused_in_a_sentence(toy_server, wrong):
    inputs, expected = WRONG[wrong]
    code, sentence = refused(toy_server.prediction.Predict, request("compress", **inputs))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and expected in sentence


def test_a_tensor_that_claims_much_and_holds_little_is_refused(toy_server):
    made = request("compress", images=[b""], qualities=HALF)
    made.inputs["qualities"].tensor_shape.dim[0].size = 1 << 40
    assert refused(toy_server.prediction.Predict, made)[0] is grpc.StatusCode.INVALID_ARGUMENT
    made.inputs["qualities"].tensor_content = b""
    made.inputs["qualities"].float_val.append(50)
    assert refused(toy_server.prediction.Predict, made)[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_what_is_not_there_is_told(toy_server):
    predict = toy_server.prediction.Predict
    assert refused(predict, request("info", "other"))[0] is grpc.StatusCode.NOT_FOUND
    for signature, there in (("enlarge", "no signature"), ("", "no default signature")):
        code, sentence = refused(predict, request(signature, files=[b""]))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert there in sentence and "compress, decompress" in sentence
    made = request("info", files=[b""])
    made.model_spec.version.value = 7
    assert refused(predict, made)[0] is grpc.StatusCode.NOT_FOUND
    made.model_spec.version_label = "stable"
    assert refused(predict, made)[0] is grpc.StatusCode.INVALID_ARGUMENT
    # `plan` would take any memory that it is asked for
    sides = {name: np.int32(1 << 30) for name in ("height", "width")}
    made = request("plan", longest=np.int32(64), **sides)
    assert "no signature 'plan'" in refused(predict, made)[1]


def test_other_services_are_unimplemented(toy_server):
    classify = classification_pb2.ClassificationRequest()
    reload = model_management_pb2.ReloadConfigRequest()
    for call, message in (
        (toy_server.prediction.Classify, classify),
        (toy_server.models.HandleReloadConfigRequest, reload),
    ):
        assert refused(call, message)[0] is grpc.StatusCode.UNIMPLEMENTED


def test_metadata_are_the_signatures(toy_server):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "toy"
    answer = toy_server.prediction.GetModelMetadata(asked)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    assert set(found.signature_def) == {"compress", "decompress", "info", "heat_map"}
    assert found.signature_def["compress"].inputs["qualities"].dtype == tf.float32.as_datatype_enum
    assert answer.model_spec.version.value == 1
    asked.metadata_field.append("other")
    call = toy_server.prediction.GetModelMetadata
    assert refused(call, asked)[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_the_status_of_a_model(toy_server):
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "toy"
    (found,) = toy_server.models.GetModelStatus(asked).model_version_status
    assert (found.version, found.state, found.status.error_code) == (1, AVAILABLE, 0)
    asked.model_spec.name = "other"
    assert refused(toy_server.models.GetModelStatus, asked)[0] is grpc.StatusCode.NOT_FOUND


def test_a_model_of_any_kind_is_served(serving, scaling_folder, ask):
    with serving(scaling_folder) as started:
        answer = started.prediction.Predict(ask([1.5, 2.0]))
        assert tf.make_ndarray(answer.outputs["y"]).tolist() == [3.0, 4.0]


@pytest.mark.parametrize("service", ["", "tensorflow.serving.PredictionService", "toy"])
def test_health(toy_server, service):
    stub = health_pb2_grpc.HealthStub(toy_server.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
