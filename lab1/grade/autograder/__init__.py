"""`python -m lab1.grade.autograder FILE`: the zip that Gradescope makes its autograder from."""
