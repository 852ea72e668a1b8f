"""The doors of Focal: HTTP contracts and the command line. Nothing here imports torch."""
