"""The lock-based twin of the actor runtime: the same peer, whose state is shared by threads and guarded by one lock."""
