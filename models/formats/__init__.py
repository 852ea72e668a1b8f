"""State-dict dialects: which tensors a file holds, what family it is, and what its keys are called here."""
