"""`python -m lab1.grade SUBMISSIONS... --out report/`: points and a readable page for each student's notebook.

From the student to the report:
  submissions.py, notebook.py   who has handed in what, read as data
  launch.py, sandbox.py         a kernel in a sandbox
  kernel.py, outputs.py         its cells are run within limits
  run.py                        a notebook, until it has been scored
  judge.py                      the checks are judged in the grader...
  inside.py, observe.py         ...on what is observed in the kernel (lazy.py: what it need not import)
  report.py, page.py            a row of the table, a page
  work.py, cluster.py           one submission after the other, on several cores or a Dask cluster
  formats.py, stats.py          files for course tools, what the class has solved
"""
