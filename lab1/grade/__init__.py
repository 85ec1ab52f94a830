"""`python -m lab1.grade NOTEBOOK... --out report/`: points and a readable page for each student's notebook.

__main__.py reads the command line and grades several at a time, run.py runs a notebook and has it scored in a kernel
from kernel.py, score.py is what runs inside that kernel at the end, report.py writes the table and the pages.
"""
