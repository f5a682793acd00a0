"""A Kubernetes of the tests' own: a real API server with its controllers and, where a machine can, a node that runs Pods. See README.md."""
