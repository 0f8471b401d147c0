"""What runs inside JupyterHub: manylab's authenticator, spawner and proxy, all of them clients of the warden."""
