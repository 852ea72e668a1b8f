"""Contract A: the routes, fields and shapes of Fooocus-API (`/v1/generation/*`)."""
