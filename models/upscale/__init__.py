"""Super-resolution by a convolutional network: files, the network, and pictures of any size."""
