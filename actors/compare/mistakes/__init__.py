"""The same mistakes in both designs, and those that only one of them can make.

    patching  how a mistake gets into the program and out of it again
    shared    mistakes in what both designs share
    locks     mistakes of threads around locks
    actors    mistakes of actors

What finds them, and after how many schedules, is `actors.compare.search`'s business.
"""
