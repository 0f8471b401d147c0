"""Environments made of conda packages, by rattler; no conda installation is needed.

`backend` is what the rest of manylab calls. Everything that reads what a channel sends runs in a process of its own
(`worker`), which is started for one job: rattler's threads, its memory and its settings never mix with ours.
"""
