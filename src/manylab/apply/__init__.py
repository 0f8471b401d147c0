"""Makes the machine as the configuration says: observe, compare, act, observe again."""
