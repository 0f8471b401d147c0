"""`manylab bench`: how soon people are at work and what they cost, measured side by side as they come in through the
proxy.

`person` and `load` are a program of their own, run with the hub environment's Python: they import nothing else of
manylab.
"""
