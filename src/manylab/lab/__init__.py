"""What runs inside a person's server, as that person: Jupyter Server with settings that nobody's home folder can break."""
