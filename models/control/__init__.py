"""Control: pictures that say where edges and depths shall be, the networks that read them, and how they steer a run."""
