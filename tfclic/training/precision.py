"""Which number format the transforms compute in."""

import pathlib

from tfclic import errors

CPU_INFO = pathlib.Path("/proc/cpuinfo")
CHOICES = ("auto", "float32", "bfloat16")


def resolve(precision, cpu_info=CPU_INFO):
    """Returns "float32" or "bfloat16" for `precision`, which may be "auto".

    "auto" takes bfloat16 only where the CPU multiplies it in tiles (AMX): anywhere else it is
    emulated and several times slower than float32.

    Raises:
      errors.UsageError: `precision` is none of the choices.
    """
    if precision not in CHOICES:
        raise errors.UsageError(
            f"The precision {precision!r} is unknown; there are: {', '.join(CHOICES)}."
        )
    if precision != "auto":
        return precision
    try:
        flags = next(s for s in cpu_info.read_text().splitlines() if s.startswith("flags"))
    except (OSError, StopIteration):
        return "float32"
    return "bfloat16" if "amx_bf16" in flags.split() else "float32"
