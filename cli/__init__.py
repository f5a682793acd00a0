"""The `chartfleet` command and laptop mode. Imports `catalog` alone; starts the other processes as `python -m …`."""
