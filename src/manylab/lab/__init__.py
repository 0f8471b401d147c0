"""What runs inside a person's server, as that person: Jupyter Server, which no home folder can break."""
