"""What every other package may use: errors, paths and names. Standard library only, no side effects."""
