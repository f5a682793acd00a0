"""What syncs cost, measured: each figure with its bar, and Kubeapps' own beside it. `python -m bench --help` says how to ask for a part."""
