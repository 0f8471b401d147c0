"""`manylab doctor`: looks for what is wrong with a machine and its site, says why it matters and what mends it.
Changes nothing.

`table` has the one list of checks; each module named in `checks` registers its own. What decides is a pure function
beside
the check that looks.
"""
