"""Processes that have imported everything and fork on request: the servers' nursery and one for each environment.

Standard library only, and nothing of manylab but this package: it runs under every environment's own Python. Read in
this order: wire (how one speaks to it), identity and capabilities (becoming a person), apart (namespaces), nursery (the
loop), servers and kernels (what a child does), launch (how the warden starts one).
docs/explanation/architecture.md has the contract, docs/explanation/security.md what it could do if somebody had it.
"""
