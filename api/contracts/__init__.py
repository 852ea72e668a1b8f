"""One package per wire contract: schemas, translation in, reply out; nothing else."""
