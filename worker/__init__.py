"""Workers take jobs from the queue and run each in a training process of its own; checkers look at what comes in."""
