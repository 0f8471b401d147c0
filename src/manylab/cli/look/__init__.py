"""What status, logs and doctor look with: parts, versions, processes, log files."""
