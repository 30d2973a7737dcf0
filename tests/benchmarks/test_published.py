"""benchmarks/published.py: anchors are at 0 against themselves, and better curves come first."""

import pathlib

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


def test_the_table_is_in_the_order_of_what_curves_save(monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import published

    assert published.main() == 0
    _, _, *lines = capsys.readouterr().out.splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    titles = [title for title, *_ in table]
    assert titles.index("ELIC 2022 (paper)") < titles.index("NeurIPS18 joint (paper)")
    by_title = {title: rates for title, *rates in table}
    assert sum(rates[0] == "+0.0 %" for rates in by_title.values()) == 1
    assert by_title["NeurIPS18 mean-scale (paper)"][0] == "+16.4 %"
    assert not any("MS-SSIM" in title for title in titles)
