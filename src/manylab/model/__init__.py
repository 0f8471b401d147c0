"""What should be on the machine, as data. Pure: no disk, no network, no accounts are looked at."""
