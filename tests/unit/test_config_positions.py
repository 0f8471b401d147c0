"""Every key that tomllib sees has a line, and it is the line where a person finds it."""

from __future__ import annotations

import sys

import pytest

from manylab.base.errors import NotFound
from manylab.config.example import example_toml
from manylab.config.positions import positions, split_key

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCUMENT = '''\
top = 1                       # 1
"quoted key" = 2              # 2
a.b."c.d" = 3                 # 3
a . e = """
not = "a key" """             # 4
'literal' = { x = 1, y.z = [ 1, { w = 2 } ] }  # 6
list = [                      # 7
    { p = 1 },                # 8
    # q = 5
    [ "]", '}', "#" ], # ]    # 10
    { r = """
        """, s = 2 },         # 11, 12
]
[table]                       # 14
k = "\\"[x]\\\\"              # 15
[table.sub]                   # 16
when = 2020-01-01 12:00:00    # 17
[[many]]                      # 18
n = -1.5e3                    # 19
[[many]]                      # 20
n = \'\'\'it\'\'\'\'              # 21
[many.below]                  # 22
m = true                      # 23
'''


def paths(value, outer=()):
    if outer:
        yield outer
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*outer, key))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_key_has_the_line_where_it_stands(newline):
    text = DOCUMENT.replace("\n", newline)
    found = positions(text).lines
    assert set(paths(tomllib.loads(text))) == set(found)
    expected = {
        ("top",): 1,
        ("quoted key",): 2,
        ("a", "b", "c.d"): 3,
        ("a", "e"): 4,
        ("literal", "y", "z", 1, "w"): 6,
        ("list",): 7,
        ("list", 0, "p"): 8,
        ("list", 1, 2): 10,
        ("list", 2, "r"): 11,
        ("list", 2, "s"): 12,
        ("table",): 14,
        ("table", "k"): 15,
        ("table", "sub", "when"): 17,
        ("many", 0, "n"): 19,
        ("many", 1, "n"): 21,
        ("many", 1, "below", "m"): 23,
    }
    assert {path: found[path] for path in expected} == expected


@pytest.mark.parametrize("cut", range(0, len(DOCUMENT), 7))
def test_a_text_that_breaks_off_keeps_the_lines_before(cut):
    whole, part = positions(DOCUMENT).lines, positions(DOCUMENT[:cut]).lines
    done = DOCUMENT[:cut].count("\n")
    assert {path: line for path, line in part.items() if line < done - 3}.items() <= whole.items()


def test_every_line_of_the_example_can_be_switched_on():
    text = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in example_toml().split("\n")
    )
    assert set(paths(tomllib.loads(text))) == set(positions(text).lines)


def test_a_dotted_key_is_split_as_toml_does():
    assert split_key('a."b.c".d-e') == ("a", "b.c", "d-e")
    assert split_key("jupyterhub.'X.y'") == ("jupyterhub", "X.y")
    for wrong in ("", "a.", ".a", "a b", "a=1", 'a."b', "[a]", "a\nb", "a#b"):
        with pytest.raises(NotFound):
            split_key(wrong)
