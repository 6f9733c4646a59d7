"""Machines that come with the program: for the demonstration, the command line and the examples."""
