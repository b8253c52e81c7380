import pytest

from wsdirect.tools.bench import contenders, cpus, options, scenarios
from wsdirect.tools.text import Usage


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--contender", "tpc"], "there is no contender 'tpc': did you mean tcp?"),
        (["--scenario", "xyzzy"], "there is no scenario 'xyzzy': there are ping-pong,"),
        (["--pinning", "three"], "there is no pinning 'three'"),
        (["--size", "64,12Q"], "--size 12Q"),
        (["--size", "0"], "--size 0"),
        (["--size", "65M"], "--size 65M"),
        (["--rounds", "0"], "--rounds is 1 to 1000"),
        (["--seconds", "nan"], "--seconds is"),
        (["--check", "/nowhere/kept.json"], "there is no /nowhere/kept.json"),
    ],
)
def test_mistakes(words, says):
    with pytest.raises(Usage) as mistake:
        options.parse(words)
    assert says in str(mistake.value)


def test_choices():
    asked = options.parse(
        [
            "--contender",
            "unix,tcp",
            "--contender",
            "switched",
            "--size",
            "16K,1,1m",
            "--rounds",
            "2",
        ]
    )
    assert asked.choice.contenders == ["switched", "tcp", "unix"]
    assert asked.choice.sizes == [1, 16384, 1 << 20]
    assert asked.scenarios == list(scenarios.SCENARIOS)
    assert (asked.rounds, asked.json, asked.choice.quick) == (2, None, False)
    assert options.parse(["--json"]).json == "-"
    quick = options.parse(["--quick"])
    assert set(quick.scenarios) < set(scenarios.SCENARIOS)
    assert set(options.QUICK_CONTENDERS) < set(contenders.CONTENDERS)


def test_who_is_not_installed_is_left_out_and_named(monkeypatch):
    monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda name: None)
    asked = options.parse(["--contender", "pyzmq,tcp,c-ring"])
    assert asked.choice.contenders == ["tcp"]
    assert asked.choice.left_out == {
        "pyzmq": "zmq is not installed",
        "c-ring": "its extension module is not installed",
    }


def test_a_process_with_one_cpu_cannot_have_two(monkeypatch):
    monkeypatch.setattr(cpus.os, "sched_getaffinity", lambda pid: {3})
    asked = options.parse([])
    assert asked.choice.pinnings == ["one", "free"]
    assert "pinning two" in asked.choice.left_out
    assert cpus.of("one") == ({3}, {3})


def test_two_cpus_are_two(monkeypatch):
    monkeypatch.setattr(cpus.os, "sched_getaffinity", lambda pid: {1, 4, 7})
    server, client = cpus.of("two")
    assert len(server) == len(client) == 1
    assert server != client
    assert cpus.of("free") == ({1, 4, 7}, {1, 4, 7})


def test_cpus_as_the_kernel_lists_them():
    assert cpus._parsed("0-2,5,8-9\n") == {0, 1, 2, 5, 8, 9}


def test_messages_that_somebody_cannot_send_are_noted():
    choice = scenarios.Choice(["spi-messages", "tcp"], ["two"])
    assert [(each.name, sizes) for each, sizes in choice.sized("one-way", (64, 1 << 20))] == [
        ("spi-messages", [64]),
        ("tcp", [64, 1 << 20]),
    ]
    assert list(choice.left_out) == ["spi-messages with more than 65536 B"]


def test_everything_that_is_registered_can_be_loaded():
    for name in scenarios.SCENARIOS:
        scenario = scenarios.load(name)
        assert scenario.name == name
        assert scenario.title
    assert {name for name, each in contenders.CONTENDERS.items() if each.ours} == {*contenders.OURS}
