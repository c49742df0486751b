"""Jobs: submit, watch, cancel, download."""
