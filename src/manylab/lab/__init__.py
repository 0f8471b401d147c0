"""What runs inside a person's server, as that person: Jupyter Server, which no home folder can break."""

from manylab.base.later import grammar_of_addresses

grammar_of_addresses()  # before anything of Jupyter is imported
