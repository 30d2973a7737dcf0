"""The configuration of TensorFlow Serving's own server; the images themselves are not built."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
RECIPE = ROOT / "serving"


def test_the_models_are_those_that_are_shipped():
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    from google.protobuf import text_format

    text = (RECIPE / "models.config").read_text()
    found = text_format.Parse(text, config.ModelServerConfig()).model_config_list.config
    assert {model.name for model in found} == {
        path.parent.parent.name for path in ROOT.glob("saved_models/*/*/saved_model.pb")
    }
    for model in found:
        assert model.base_path == f"/models/{model.name}"
        assert model.model_platform == "tensorflow"


def test_two_replicas_of_the_same_image():
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((RECIPE / "compose.yaml").read_text())
    deployment, service = yaml.safe_load_all((RECIPE / "kubernetes.yaml").read_text())
    servers = list(compose["services"].values())
    pod = deployment["spec"]["template"]["spec"]["containers"][0]
    assert len(servers) == deployment["spec"]["replicas"] == 2
    assert {server["image"] for server in servers} == {pod["image"]}
    inside = {port.split(":")[1] for server in servers for port in server["ports"]}
    assert inside == {str(port["containerPort"]) for port in pod["ports"]} == {"8500", "8501"}
    assert len({port.split(":")[0] for server in servers for port in server["ports"]}) == 4
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


def test_probes_ask_for_a_model_that_is_served_and_limits_are_set():
    yaml = pytest.importorskip("yaml")
    deployment, _ = yaml.safe_load_all((RECIPE / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]["containers"][0]
    served = re.findall(r'name: "(\w+)"', (RECIPE / "models.config").read_text())
    for probe in ("startupProbe", "readinessProbe"):
        assert pod[probe]["httpGet"]["path"].split("/")[3] in served
    assert "livenessProbe" in pod and set(pod["resources"]["limits"]) == {"cpu", "memory"}


def test_everything_the_image_is_made_of_is_pinned():
    text = (RECIPE / "Dockerfile").read_text()
    assert all("2.14.1" in line and "@${" in line for line in re.findall("^FROM.*", text, re.M))
    assert "sha256sum --check" in text
    for copied in re.findall(r"^COPY (?!--from)(.*)", text, re.M):
        for name in copied.split()[:-1]:
            assert (RECIPE / name).is_file()


@pytest.mark.parametrize("document", ["README.md", "docs/serving.md"])
def test_the_official_image_is_given_a_model_that_it_can_load(document):
    from tensorflow.core.protobuf import saved_model_pb2

    (command,) = re.findall(r"docker run .*\\\n.*", (ROOT / document).read_text())
    (name,) = re.findall(r"MODEL_NAME=(\w+)", command)
    assert f'"$PWD/saved_models/{name}:/models/{name}" tensorflow/serving' in command
    (path,) = ROOT.glob(f"saved_models/{name}/*/saved_model.pb")
    proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = (each for each in proto.meta_graphs if list(each.meta_info_def.tags) == ["serve"])
    functions = graph.graph_def.library.function
    operations = {node.op for function in functions for node in function.node_def}
    assert "While" in operations and not any("Entropy" in each for each in operations)
