"""Keeps the warden, the hub and the proxy alive where there is no systemd.

Two processes: a guardian, which is small and only starts the other again, and the inner one, which starts, watches and
stops the services. Either can be killed without the services noticing. `control` is what the command line calls.
"""
