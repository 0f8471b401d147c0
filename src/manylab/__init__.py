"""manylab turns one Linux machine into a multi-user Python development environment."""

__version__ = "0.1.0"
