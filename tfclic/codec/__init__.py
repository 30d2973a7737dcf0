"""The file, the exported graph, and images in and out."""
