"""manylab.toml: what can be set (schema), how it is read (load) and changed (edit), and what is written from it."""
