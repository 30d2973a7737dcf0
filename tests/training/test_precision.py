import pytest

from tfclic import errors
from tfclic.training import precision


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512_bf16", "float32"), ("fpu amx_bf16 amx_tile", "bfloat16"), (None, "float32")],
)
def test_auto_takes_bfloat16_only_with_amx(tmp_path, flags, expected):
    info = tmp_path / "cpuinfo"
    if flags is not None:
        info.write_text(f"processor : 0\nflags\t\t: {flags}\nbugs : none\n")
    assert precision.resolve("auto", info) == expected


def test_a_choice_is_kept_and_a_wrong_one_refused():
    assert precision.resolve("bfloat16") == "bfloat16"
    with pytest.raises(errors.UsageError, match="auto, float32, bfloat16"):
        precision.resolve("half")
