"""Workers: who is there, and what they run on."""
