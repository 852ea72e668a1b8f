"""Contract C: graphs in ComfyUI's API format (`/prompt`, `/history`, `/view`, `/ws`)."""
