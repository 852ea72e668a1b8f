"""Masks found in pictures: what stands out (U²-Net and its kin), and what words name (GroundingDINO and SAM)."""
