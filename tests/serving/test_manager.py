"""Versions come and go while the server serves."""

import json
import pathlib
import shutil
import threading
import weakref

import pytest

from tfclic import errors, machine
from tfclic.serving import manager, metrics, repository
from tfclic.serving.manager import State
from tfclic.serving.refusals import Refusal, StatusCode


class Models:
    """A manager of the models in a folder, and what it tells."""

    def __init__(self, folder):
        self.told = []
        self.manager = manager.Manager(
            repository.Repository(folder),
            -1,
            lambda *news: self.told.append(news),
            metrics.Metrics(*3 * [lambda: 0]),
        )
        self.manager.poll()

    def factor(self, name="scaling", version=None):
        """What the scaling model multiplies by."""
        import numpy as np

        with self.manager.leased(name, version) as servable:
            return servable.run("", {"x": np.ones([1], np.float32)})["y"][0]

    def states(self, name="scaling"):
        """Dict of the state of each version."""
        return {each.version: each.state for each in self.manager.statuses(name)}


@pytest.fixture
def folder(tmp_path, make_scaling):
    make_scaling(tmp_path)
    return tmp_path


def test_a_new_version_takes_the_place_of_the_old(folder, make_scaling):
    models = Models(folder)
    assert models.factor() == 2 and models.states() == {1: State.AVAILABLE}
    make_scaling(folder, version=10, factor=3.0)
    models.manager.poll()
    assert models.factor() == models.factor(version=10) == 3
    assert models.states() == {10: State.AVAILABLE, 1: State.END}
    with pytest.raises(Refusal) as caught:
        models.factor(version=1)
    assert caught.value.code is StatusCode.NOT_FOUND
    assert models.told == [("scaling", True), ("scaling", True)]


def test_an_old_version_comes_back_when_the_new_one_is_removed(folder, make_scaling):
    new = make_scaling(folder, version=2, factor=3.0)
    models = Models(folder)
    assert models.factor() == 3
    shutil.rmtree(new)
    models.manager.poll()
    assert models.factor() == 2


def test_an_old_version_finishes_what_it_has_begun(folder, make_scaling):
    models = Models(folder)
    make_scaling(folder, version=2, factor=3.0)
    with models.manager.leased("scaling") as old:
        swap = threading.Thread(target=models.manager.poll)
        swap.start()
        with models.manager._changed:
            unloading = lambda: models.manager._models["scaling"][1].state == State.UNLOADING  # noqa: E731
            while not unloading():
                models.manager._changed.wait(0.01)
        assert models.factor() == 3 and models.states()[1] == State.UNLOADING
        assert old.version == 1 and swap.is_alive()
    swap.join(60)
    assert models.states() == {2: State.AVAILABLE, 1: State.END}


def test_what_has_gone_is_given_back_to_the_system(folder, make_scaling, monkeypatch):
    models, given_back = Models(folder), []
    old = weakref.ref(models.manager._models["scaling"][1].servable)
    monkeypatch.setattr(machine, "give_back", lambda: given_back.append(old() is None))
    models.manager.poll()
    make_scaling(folder, version=2, factor=3.0)
    models.manager.poll()
    # of the first version; then after it has gone
    assert given_back == [False, True]
    models.manager.poll()
    models.manager.poll()
    # once more, for what requests still held
    assert given_back == [False, True, True]


def test_memory_can_be_given_back():
    ring = weakref.ref(Ring())
    machine.give_back()
    assert ring() is None


class Ring:
    """What only a collector of garbage finds."""

    def __init__(self):
        self.itself = self


def test_a_broken_version_leaves_the_old_one_and_is_tried_again_once_mended(folder, make_scaling):
    models = Models(folder)
    broken = folder / "scaling" / "2"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"garbage")
    models.manager.poll()
    assert models.factor() == 2
    assert models.states() == {2: State.END, 1: State.AVAILABLE}
    (status,) = models.manager.statuses("scaling", 2)
    assert status.status.error_message == "The model cannot be loaded."
    shutil.rmtree(broken)
    make_scaling(folder, version=2, factor=5.0)
    models.manager.poll()
    assert models.factor() == 5


@pytest.mark.parametrize("checksums", [[1], 5])
def test_whatever_a_broken_version_raises_it_is_tried_again_once_mended(
    folder, toy_model, checksums
):
    broken = folder / "toy" / "1"
    shutil.copytree(toy_model, broken)
    card = broken / "model_card.json"
    whole = card.read_text()
    card.write_text(json.dumps({**json.loads(whole), "checksums": checksums}))
    models = Models(folder)
    assert models.factor() == 2 and models.states("toy") == {1: State.END}
    card.write_text(whole)
    models.manager.poll()
    assert models.states("toy") == {1: State.AVAILABLE}


def test_a_folder_that_cannot_be_read_takes_no_other_away(folder, monkeypatch):
    # such as lost+found, at the top of a disk
    (folder / "lost+found").mkdir()
    listed = pathlib.Path.iterdir

    def refused(self):
        if self.name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(pathlib.Path, "iterdir", refused)
    assert Models(folder).factor() == 2


def test_a_model_that_is_removed_is_not_served(folder, make_scaling):
    make_scaling(folder, name="other")
    models = Models(folder)
    shutil.rmtree(folder / "other")
    models.manager.poll()
    with pytest.raises(Refusal, match="There is no model other here"):
        models.factor("other")
    assert models.factor() == 2 and ("other", False) in models.told


def test_warm_up_requests_run_before_a_model_is_available(toy_model, monkeypatch):
    from tfclic.serving import servable

    run, seen = servable.Servable.run, []

    def noted(self, name, *arguments):
        seen.append((name, models.manager.statuses("toy")[0].state))
        return run(self, name, *arguments)

    monkeypatch.setattr(servable.Servable, "run", noted)
    monkeypatch.setattr(manager.Manager, "poll", lambda self: None)
    models = Models(toy_model.parents[1])
    monkeypatch.undo()
    monkeypatch.setattr(servable.Servable, "run", noted)
    models.manager.poll()
    names = ["compress", "decompress", "info", "heat_map"]
    assert seen == [(name, State.LOADING) for name in names]
    assert models.states("toy") == {1: State.AVAILABLE}


def test_a_model_that_waits_for_another_one_is_being_loaded(folder, make_scaling, monkeypatch):
    make_scaling(folder, name="another")
    told, bring = [], manager.Manager._bring

    def noted(self, name, *where):
        if name == "another":
            told.append([each.state for each in self.statuses("scaling")])
            with pytest.raises(Refusal, match="scaling is being loaded") as caught:
                self._lease("scaling", None)
            told.append(caught.value.code)
        bring(self, name, *where)

    monkeypatch.setattr(manager.Manager, "_bring", noted)
    assert Models(folder).factor() == 2
    assert told == [[State.START], StatusCode.UNAVAILABLE]


def test_nothing_more_is_loaded_when_the_server_is_told_to_end(folder, make_scaling, monkeypatch):
    make_scaling(folder, name="another")
    bring = manager.Manager._bring

    def ended(self, *what):
        bring(self, *what)
        self.leave_off()

    monkeypatch.setattr(manager.Manager, "_bring", ended)
    assert Models(folder).manager.available() == ["another"]


@pytest.mark.parametrize("records", [b"\1", b"\3" + bytes(11) + b"abc" + bytes(4)])
def test_a_model_whose_warm_up_fails_is_not_served(folder, records):
    extra = folder / "scaling" / "1" / "assets.extra"
    extra.mkdir()
    (extra / "tf_serving_warmup_requests").write_bytes(records)
    models = Models(folder)
    assert models.states() == {1: State.END} and models.told == []


def test_a_base_path_may_be_one_model_or_all(folder, make_scaling):
    make_scaling(folder, name="other", version=3)
    both = {"scaling": (1, folder / "scaling" / "1"), "other": (3, folder / "other" / "3")}
    assert repository.Repository(folder).latest() == both
    assert repository.Repository(folder, "other").latest() == {"other": both["other"]}
    assert repository.Repository(folder / "other").latest() == {"other": both["other"]}
    assert repository.Repository(folder / "other", "mine").latest() == {"mine": both["other"]}
    with pytest.raises(errors.ModelError, match="is not a folder"):
        repository.Repository(folder / "nowhere")


@pytest.mark.parametrize("name, place", [(None, "in {}"), ("missing", "missing in {}")])
def test_that_there_is_nothing_to_serve_yet_is_logged(tmp_path, caplog, name, place):
    watched = manager.Manager(
        repository.Repository(tmp_path, name), 0, lambda *_: None, metrics.Metrics(*3 * [lambda: 0])
    )
    with caplog.at_level("WARNING", "absl"):
        watched.start()
    assert caplog.messages == [f"There is no model {place.format(tmp_path)} yet."]
