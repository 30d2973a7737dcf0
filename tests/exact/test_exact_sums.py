"""Which sums float32 has exactly."""

import numpy as np

from tfclic.exact import exact_sums


def test_groups_keep_every_sum_exact():
    kernel = np.full((3000, 2), 127, np.int8)
    groups = exact_sums.row_groups(kernel, 128)
    assert groups[0][0] == 0 and groups[-1][1] == 3000
    assert all(a[1] == b[0] for a, b in zip(groups, groups[1:]))
    worst = max((end - first) * 127 * 128 for first, end in groups)
    assert worst < exact_sums.EXACT_FLOAT32
