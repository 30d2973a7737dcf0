"""What may change while a run lasts: fields of its configuration, and how that is kept."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from tfclic import errors
from tfclic.training import checkpoints

if TYPE_CHECKING:
    from ml_collections import ConfigDict

# Fields of `training` that say what a run is: what it minimises, its random numbers, and the images
# that it holds out, which it would otherwise have trained on. Shares and steps only say when.
FIXED_FIELDS = ("objective", "seed", "validation_images")
# Fields of `training` that change nothing but what is seen of a run.
UNNOTED_FIELDS = ("log_every", "checkpoint_every", "validate_every")
_ABSENT = object()


class Change(TypedDict):
    """A field, such as "training.steps", and its plain values, None where it was absent."""

    field: str
    before: Any
    after: Any


class DatedChange(Change):
    """A change and the step from which on it holds."""

    step: int


def check_config(workdir: pathlib.Path, name: str, config: ConfigDict) -> list[Change]:
    """Checks that a workdir, if it was used before, is one of this configuration's.

    The fields of `training` may differ, except for FIXED_FIELDS, and the model may have fields that
    the configuration had not when the workdir was made.

    Args:
      workdir: pathlib.Path.
      name, config: of the configuration.

    Returns:
      The changes worth noting.

    Raises:
      errors.UsageError: another configuration made the workdir; the differing fields are listed. Or
        its config.json cannot be read.
    """
    if not (workdir / "config.json").exists():
        return []
    old, new = checkpoints.read_config(workdir), {"name": name, **checkpoints.as_plain(config)}
    differing = list(_differences(old, new))
    refused = [_refusal(*each) for each in differing if not _is_free(*each)]
    if refused:
        raise errors.UsageError(
            f"{workdir} was made by another configuration: {'; '.join(refused)}."
        )
    unnoted = [f"training.{field}" for field in UNNOTED_FIELDS]
    return [
        {"field": path, "before": _plain(before), "after": _plain(after)}
        for path, before, after in differing
        if path not in unnoted
    ]


def is_same_model(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two configurations (plain dicts) are of one model; `new` may have more fields."""
    before, after = ({"model": each.get("model")} for each in (old, new))
    return all(_is_free(*each) for each in _differences(before, after))


def dated(changes: Iterable[Change], step: int) -> list[DatedChange]:
    """Returns changes as the record keeps them, with the step from which on they hold."""
    return [{"step": step, **change} for change in changes]


def in_words(changes: Iterable[DatedChange]) -> str:
    """Returns one line that says what changed and when; `changes` as from `dated`, at least one."""
    return "; ".join(map(_in_words, changes)) + "."


def _in_words(change: DatedChange) -> str:
    before, after = (
        "absent" if value is None else json.dumps(value)
        for value in (change["before"], change["after"])
    )
    return f"{change['field']} is {after} from step {change['step']} on, it was {before}"


def _is_free(path: str, before: Any, _: Any) -> bool:
    part, _, field = path.partition(".")
    if part == "training":
        return field not in FIXED_FIELDS
    return part == "model" and before is _ABSENT


def _refusal(path: str, before: Any, after: Any) -> str:
    shown = ["absent" if v is _ABSENT else json.dumps(v) for v in (before, after)]
    return f"{path} was {shown[0]}, is {shown[1]}"


def _plain(value: Any) -> Any:
    return None if value is _ABSENT else value


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yields (path, before, after) of the fields that differ."""
    for key in sorted(set(old) | set(new)):
        before, after, path = old.get(key, _ABSENT), new.get(key, _ABSENT), prefix + key
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, path + ".")
        elif before != after:
            yield path, before, after
