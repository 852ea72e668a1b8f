"""Pictures as conditioning: CLIP's image encoder, IP-Adapters, faces."""
