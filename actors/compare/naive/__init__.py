"""The design that people write first: locks where something needed one, and calls made while holding them.

    peer    a Raft server with three locks, whose peers call each other's handlers
    client  a client that counts, and is called back under a lock of the server's

It works: it elects a leader and counts, nearly always.  It exists for the bug experiment, where the search of schedules
shows what "nearly" means; nothing outside of the comparison may import it.
"""
