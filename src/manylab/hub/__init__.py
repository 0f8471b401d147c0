"""What runs inside JupyterHub: manylab's authenticator, spawner and proxy, all of them clients of the warden."""

from manylab.base.later import grammar_of_addresses

grammar_of_addresses()  # before anything of JupyterHub is imported
