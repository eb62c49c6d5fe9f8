"""The search space: overrides become ranges and choices, and invalid ones are rejected before the search starts."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from firstlight.config.hydra_version import IS_HYDRA_1_3
from firstlight.run.errors import ConfigError
from firstlight.sweep.search_space import NumberRange, get_corners, parse_search_space


def parse(*overrides):
    return parse_search_space(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("interval(0.1,2)", NumberRange(0.1, 2.0)),
        ("interval(1,8)", NumberRange(1.0, 8.0)),
        ("int(interval(1,8))", NumberRange(1, 8, 1)),
        ("float(int(interval(1,8)))", NumberRange(1.0, 8.0)),
        ("tag(log,interval(1e-4,1e-2))", NumberRange(1e-4, 1e-2, is_log=True)),
        ("tag(log,int(interval(1,64)))", NumberRange(1, 64, 1, is_log=True)),
        ("int(tag(log,interval(1,64)))", NumberRange(1, 64, 1, is_log=True)),
        ("range(3)", NumberRange(0, 2, 1)),
        ("range(8,33,8)", NumberRange(8, 32, 8)),
        ("range(0,10,5)", NumberRange(0, 5, 5)),
        ("range(9,0,-4)", NumberRange(1, 9, 4)),
        ("range(0,0.3,0.1)", NumberRange(0.0, 0.2, 0.1)),
        ("shuffle(range(1,4))", NumberRange(1, 3, 1)),
        ("float(range(1,4))", NumberRange(1.0, 3.0, 1.0)),
        ("int(range(1.0,7.0,2.0))", NumberRange(1, 5, 2)),
        ("16", ["16"]),
        ("null", ["null"]),
        ("4,8,4", ["4", "8"]),
        ("true,null,0.1,a", ["True", "null", "0.1", "a"]),
        ("shuffle(c,a,b)", ["c", "a", "b"]),
        ("sort(c,a,b)", ["a", "b", "c"]),
        ("'a b','c,d'", ["'a b'", "'c,d'"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ("{a:1},{a:2}", ["{a:1}", "{a:2}"]),
    ],
)
def test_values_of_override(value, expected):
    values = parse(f"key={value}")["key"]

    assert values == expected
    # 1 == 1.0, but an integer setting rejects 1.0.
    assert repr(values) == repr(expected)


def test_prefix_and_package_of_key_are_kept():
    assert list(parse("+a.b=1", "~c", "++d=1,2", "model@net=x,y")) == ["+a.b", "~c", "++d", "model@net"]


def test_last_override_of_key_applies():
    assert parse("lr=interval(0,1)", "lr=0.5") == {"lr": ["0.5"]}
    assert parse("lr=0.5", "lr=interval(0,1)") == {"lr": NumberRange(0.0, 1.0)}


def test_corners_are_bounds_and_choices():
    space = parse("lr=interval(0.1,0.2)", "size=range(0,10,5)", "act=a,b", "seed=3")

    assert sorted(get_corners(space)) == [
        [f"lr={lr}", f"size={size}", f"act={act}", "seed=3"] for lr in (0.1, 0.2) for size in (0, 5) for act in "ab"
    ]


def test_corners_of_a_large_space_contain_each_bound_and_choice():
    space = parse("lr=interval(0.1,0.2)", *(f"key{index}=a,b" for index in range(7)), "act=c,d,e")
    corners = get_corners(space)

    assert len({tuple(corner) for corner in corners}) == len(corners) == 64
    assert {override for corner in corners for override in corner} == {
        *("lr=0.1", "lr=0.2", "act=c", "act=d", "act=e"),
        *(f"key{index}={choice}" for index in range(7) for choice in "ab"),
    }


@pytest.mark.skipif(IS_HYDRA_1_3, reason="Hydra 1.3 casts the bounds, and lists 1, 2 and 3")
def test_range_of_integers_with_a_fraction_is_rejected():
    message = r"expected a range of integers, got 'int\(range\(1\.0,4\.0,1\.5\)\)'\. Use e\.g\. size=range\(8,33,8\)"
    with pytest.raises(ConfigError, match=message):
        parse("size=int(range(1.0,4.0,1.5))")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "lr=interval(0.1,0.001)",
            "Invalid value for lr: expected low < high, got 'interval(0.1,0.001)'. Use e.g. lr=interval(1e-4,1e-2).",
        ),
        (
            "lr=tag(log,interval(0,1))",
            "Invalid value for lr: expected low > 0 on a log scale, got 'tag(log,interval(0,1))'. "
            "Use e.g. lr=tag(log,interval(1e-4,1e-2)).",
        ),
        ("lr=interval(nan,1)", "Invalid value for lr: expected low < high, got 'interval(nan,1)'."),
        ("lr=interval(0,inf)", "Invalid value for lr: expected finite bounds, got 'interval(0,inf)'."),
        (
            "size=int(interval(0.2,0.8))",
            "Invalid value for size: expected integers with low < high, got 'int(interval(0.2,0.8))'. "
            "Use e.g. size=int(interval(1,8)).",
        ),
        (
            "lr=tag(lg,interval(0,1))",
            "Unknown tag 'lg' of lr=tag(lg,interval(0,1)). Use tag(log,...), or remove the tag.",
        ),
        (
            "lr=tag(log,range(1,9))",
            "Tag 'log' of lr=tag(log,range(1,9)) has no effect. Use tag(log,interval(<low>,<high>)), or remove the "
            "tag.",
        ),
        ("lr=tag(log,choice(1,2))", "Tag 'log' of lr=tag(log,choice(1,2)) has no effect."),
        (
            "size=range(10,1)",
            "Invalid value for size: expected a range with at least one value, got 'range(10,1)'. "
            "Use e.g. size=range(8,33,8).",
        ),
        *((f"size={value}", f"at least one value, got '{value}'.") for value in ("range(1,9,0)", "range(0,inf)")),
    ],
)
def test_invalid_range_is_rejected(override, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(override)
