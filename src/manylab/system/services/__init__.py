"""The two ways to be a service of the machine: systemd, and scripts in /etc/init.d."""
