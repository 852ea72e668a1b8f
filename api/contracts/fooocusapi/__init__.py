"""Contract B: the routes, fields and shapes of FooocusAPI (`/v1/engine/generate/`, `/tasks`)."""
