"""Faults on purpose: real stacks whose processes are killed, frozen and cut off, and what is left is counted.

`make faults` runs the full count. Linux only: processes are found and proven dead by /proc.
"""
