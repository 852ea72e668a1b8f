"""Full-size files of every format with random weights, through the loaders of the server."""
