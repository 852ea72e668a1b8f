"""Pictures into words: a captioner for photographs, a tagger for drawings."""
