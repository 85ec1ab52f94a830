"""The tables of Exercise 2.1 on residual connections: the same from numbers in memory, and from results.json."""

from test_tables import WITH, WITHOUT, from_json, rows

from lab1.experiment import residual_tables


def test_levels():
    ends = {"level": 1.0, "gradient": 2.0, "output": -1.0, "dead": 0.25, "cosine": 0.5}
    higher = ends | {"level": 2.0, "cosine": 0.7}
    kinds = ("skip, no BatchNorm", "no skip, no BatchNorm, weights x 0.7", "no skip, BatchNorm", "skip, BatchNorm")
    measured = {f"{kind}, {depth}": [ends, higher] for kind in kinds for depth in (110, 8)}
    table = residual_tables.levels(measured)
    assert table == residual_tables.levels(from_json(measured))
    assert [row[0] for row in rows(table)[1:]] == [kinds[3], kinds[2], kinds[0], kinds[1]]
    assert rows(table)[0][1:3] == ["8 layers", "110 layers"]
    assert rows(table)[0][-1] == "110 layers: cosine"
    assert rows(table)[1][1:] == ["+1.50 ± 0.71", "+1.50 ± 0.71", "+2.00", "-1.00", "25%", "0.60"]


def test_lesions():
    residual = {"none": 0.1, "layer1.0": 0.2, "layer1.1": 0.4, "layer2.0": 0.9, "layer2.1": 0.3}
    plain = {"none": 0.25, "layer1.0": 0.5}
    table = residual_tables.lesions({"residual, 6 layers": residual, "plain, 6 layers": plain})
    assert table == residual_tables.lesions(from_json({"residual, 6 layers": residual, "plain, 6 layers": plain}))
    assert rows(table)[1] == ["plain, 6 layers", "25.0%", "50.0%", "50.0%", "50.0%", "cannot be removed"]
    assert rows(table)[2] == ["residual, 6 layers", "10.0%", "30.0%", "20.0%", "40.0%", "90.0%"]


def test_spread_by_layers():
    keys = [f"{n}, {q}, epoch {e}" for n in (WITHOUT, WITH) for e in (10, 0) for q in ("gradient x weight", "gradient")]
    measured = {"blocks": dict.fromkeys(keys, [(0.1, 1.0), (0.3, 1.0)]), "and stem": dict.fromkeys(keys, [(0.5, 1.0)])}
    table = rows(residual_tables.spread_by_layers(measured))
    assert table[0][1:] == ["blocks", "and stem"]
    assert table[1] == [f"{WITH}, gradient, epoch 0", "0.200 ± 0.141", "0.500"]
    assert len(table) == 9
