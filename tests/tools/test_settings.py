import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdirect import settings
from wsdirect.settings import Exclusion, SettingError


def test_defaults():
    now = settings.load({})
    assert now.ring == 262144
    assert now.slots == 64
    assert now.offer_timeout == 3.0
    assert now.spin_us is None
    assert now.cpu_budget == 100
    assert now.providers == ("shm",)
    assert now.allow_uids == frozenset()
    assert now.exclude == ()
    assert now.log == "error"
    assert (now.switch, now.require, now.strict) == (False, False, False)


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("WSDIRECT", "1", "switch", True),
        ("WSDIRECT", "off", "switch", False),
        ("WSDIRECT_REQUIRE", "Yes", "require", True),
        ("WSDIRECT_SPIN_US", "auto", "spin_us", None),
        ("WSDIRECT_SPIN_US", "0", "spin_us", 0),
        ("WSDIRECT_SPIN_US", "10000", "spin_us", 10000),
        ("WSDIRECT_CPU_BUDGET", "0", "cpu_budget", 0),
        ("WSDIRECT_CPU_BUDGET", "100", "cpu_budget", 100),
        ("WSDIRECT_RING", "4K", "ring", 4096),
        ("WSDIRECT_RING", "16m", "ring", 16 << 20),
        ("WSDIRECT_RING", " 65536 ", "ring", 65536),
        ("WSDIRECT_RING_MAX", "Auto", "ring_max", None),
        ("WSDIRECT_RING_MAX", "0", "ring_max", 0),
        ("WSDIRECT_RING_MAX", "4M", "ring_max", 4 << 20),
        ("WSDIRECT_SLOTS", "1", "slots", 1),
        ("WSDIRECT_OFFER_TIMEOUT", "0.25", "offer_timeout", 0.25),
        ("WSDIRECT_ALLOW_UIDS", "0, 1000", "allow_uids", frozenset({0, 1000})),
        ("WSDIRECT_LOG", "DEBUG", "log", "debug"),
        ("WSDIRECT_RDMA", "Owner", "rdma", "owner"),
        ("WSDIRECT_PROVIDERS", "shm,fabric", "providers", ("shm", "fabric")),
        ("WSDIRECT_RING", "", "ring", 262144),
    ],
)
def test_values(name, text, attribute, value):
    assert getattr(settings.load({name: text}), attribute) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WSDIRECT", "maybe"),
        ("WSDIRECT_SPIN_US", "10001"),
        ("WSDIRECT_CPU_BUDGET", "101"),
        ("WSDIRECT_SPIN_US", "-1"),
        ("WSDIRECT_SPIN_US", "1.5"),
        ("WSDIRECT_SPIN_US", "\u0663"),
        ("WSDIRECT_RING", "5000"),
        ("WSDIRECT_RING", "2K"),
        ("WSDIRECT_RING", "32M"),
        ("WSDIRECT_RING", "K"),
        ("WSDIRECT_SLOTS", "0"),
        ("WSDIRECT_OFFER_TIMEOUT", "0"),
        ("WSDIRECT_OFFER_TIMEOUT", "nan"),
        ("WSDIRECT_OFFER_TIMEOUT", "inf"),
        ("WSDIRECT_ALLOW_UIDS", "root"),
        ("WSDIRECT_ALLOW_UIDS", "4294967295"),
        ("WSDIRECT_EXCLUDE", "host:99999"),
        ("WSDIRECT_EXCLUDE", "[::1"),
        ("WSDIRECT_EXCLUDE", "0"),
        ("WSDIRECT_EXCLUDE", "10.0.0.0/8"),
        ("WSDIRECT_LOG", "loud"),
        ("WSDIRECT_RDMA", "magic"),
        ("WSDIRECT_PROVIDERS", ","),
    ],
)
def test_bad_values_name_the_setting_and_what_is_valid(name, text):
    with pytest.raises(SettingError) as caught:
        settings.load({name: text})
    assert caught.value.name == name
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} is {text!r}")
    assert next(one.valid for one in settings.ALL if one.name == name) in sentence
    assert "\n" not in sentence


def test_unknown_names_get_the_nearest():
    with pytest.raises(SettingError, match=r"WSDIRECT_RINGS .* did you mean WSDIRECT_RING\?"):
        settings.load({"WSDIRECT_RINGS": "4K"})
    with pytest.raises(SettingError, match=r"^WSDIRECT_ is not a setting"):
        settings.load({"WSDIRECT_": "4K"})


def test_names_of_others_are_left_alone():
    settings.load({"WSDIRECTORY": "x", "MY_WSDIRECT_RING": "y", "WS": "z"})


@given(st.dictionaries(st.sampled_from([s.name for s in settings.ALL]), st.text()))
def test_any_text_is_a_value_or_a_setting_error(environ):
    blamed = None
    try:
        settings.load(environ)
    except SettingError as error:
        blamed = error.name
    assert blamed is None or blamed in environ


@pytest.mark.parametrize(
    ("pattern", "host", "port", "matches"),
    [
        ("5432", "127.0.0.1", 5432, True),
        ("5432", "127.0.0.1", 5433, False),
        ("db.example", "DB.example", 1, True),
        ("db.example:80", "db.example", 81, False),
        ("10.0.*", "10.0.3.4", 1, True),
        ("10.0.*", "10.1.3.4", 1, False),
        ("*.example:80", "a.b.example", 80, True),
        ("a*b*c", "aXbXbc", 1, True),
        ("ab*b", "ab", 1, False),
        ("*:80", "anything", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("::1", "::1", 4, True),
        ("[::1]", "::2", 4, False),
        ("localhost:80", "127.0.0.1", 80, True),
        ("localhost", "::1", 9, True),
        ("127.0.0.1", "localhost", 9, False),
    ],
)
def test_exclusions(pattern, host, port, matches):
    now = settings.load({"WSDIRECT_EXCLUDE": f"nobody:1, {pattern}"})
    assert now.excluded(host, port) is matches


@pytest.mark.parametrize("text", ["5432", "host", "host:1", "[::1]:2", "::1"])
def test_exclusions_print_as_they_are_written(text):
    (exclusion,) = settings.load({"WSDIRECT_EXCLUDE": text}).exclude
    assert str(exclusion) == text
    assert exclusion == Exclusion(exclusion.host, exclusion.port)


def test_settings_cannot_be_changed():
    now = settings.load({})
    with pytest.raises(AttributeError):
        now.ring = 1
    with pytest.raises(AttributeError):
        del now.ring
    with pytest.raises(AttributeError):
        now.other = 1


def test_log_levels():
    assert settings.load({"WSDIRECT_LOG": "info"}).logs("error")
    assert not settings.load({"WSDIRECT_LOG": "info"}).logs("debug")
    assert not settings.load({"WSDIRECT_LOG": "off"}).logs("error")


def test_current_reads_once(monkeypatch):
    settings.forget()
    monkeypatch.setenv("WSDIRECT_SLOTS", "7")
    try:
        assert settings.current().slots == 7
        monkeypatch.setenv("WSDIRECT_SLOTS", "8")
        assert settings.current().slots == 7
        settings.forget()
        assert settings.current().slots == 8
    finally:
        settings.forget()


def test_every_default_is_valid_and_every_setting_is_documented():
    for setting in settings.ALL:
        setting.parse(setting.default) if setting.default else None
        assert setting.doc.endswith(".")
        assert "\n" not in setting.doc
        assert hasattr(settings.load({}), setting.attribute)
