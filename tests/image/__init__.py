"""The product's image as the Dockerfile makes it, without Docker and without a registry. See README.md."""
