"""The one part of manylab that acts as root: a small program with a closed vocabulary, asked over a unix socket.

Read in this order: messages (what can be asked), settings (what root decided), accounts (who may be served), login and
pam_check (passwords), folders, child and spawn (one server), processes and registry (which processes a server is),
starts (from a person to a server that answers), running and servers (stop, status), server (the socket).
docs/explanation/architecture.md has the contract.
"""
