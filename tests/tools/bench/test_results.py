import json

import pytest

from wsdirect.tools.bench.results import (
    UNITS,
    Budget,
    Document,
    Ratio,
    Result,
    WrongFormat,
    load,
    save,
)


def document():
    full = Result(
        "ping-pong", "tcp", "two", "us", [1.5, 2.5, 3.5], 2.5, 9.5, 99.5, 64, 10,
        {"cpu_us_per_op": 1.25},
    )  # fmt: skip
    bare = Result("connections", "unix", "one", "conn/s", [1000.0], 1000.0)
    return Document(
        "2026-01-02T03:04:05+00:00",
        {"cpu": "a CPU", "count": 2},
        {"rounds": 3, "sizes": None},
        {"pyzmq": "zmq is not installed"},
        [full, bare],
        [Ratio("ping-pong", "two", "switched", "tcp", 100.0, 90.0, 110.0, size=64)],
        [Budget("a row", "TCP", "<= 1/100", 0.009, True), Budget("another", "", "<= 24 KiB")],
    )


def test_what_was_written_is_read(tmp_path):
    path = str(tmp_path / "run.json")
    save(document(), path)
    assert load(path) == document()
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_the_file_says_which_way_is_better_and_leaves_out_what_is_not_there(tmp_path):
    first, second = json.loads(json.dumps(document().to_json()))["results"]
    assert (first["better"], first["rounds"], first["p999"]) == ("lower", 3, 99.5)
    assert (second["better"], second["rounds"]) == ("higher", 1)
    assert not {"p99", "p999", "size", "count", "extra"} & set(second)
    assert set(UNITS.values()) == {"lower", "higher"}


def test_figures_keep_five_digits():
    result = Result("s", "c", "two", "us", [1.23456789], 123456.789, extra={"x": 1e-7 / 3})
    written = Document("now", results=[result]).to_json()["results"][0]
    assert written["samples"] == [1.2346]
    assert written["median"] == 123460
    assert written["extra"] == {"x": 3.3333e-08}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"),
        ("[]", "no result"),
        ('{"version": 2}', "version 2"),
        ('{"version": 1}', "missing or wrong"),
        pytest.param(
            json.dumps({**document().to_json(), "results": [{"scenario": "x"}]}),
            "missing or wrong",
            id="an incomplete result",
        ),
        pytest.param(
            json.dumps(document().to_json()).replace('"us"', '"miles"'),
            "miles",
            id="an unknown unit",
        ),
    ],
)
def test_files_that_are_no_results(text, says, tmp_path):
    path = tmp_path / "kept.json"
    path.write_text(text)
    with pytest.raises(WrongFormat, match=says):
        load(str(path))


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "run.json").mkdir()
    with pytest.raises(OSError, match=r"run\.json"):
        save(document(), str(tmp_path / "run.json"))
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_find():
    assert document().find("ping-pong", "tcp", "two", 64, 10).median == 2.5
    assert document().find("ping-pong", "tcp", "one", 64, 10) is None
