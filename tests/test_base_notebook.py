"""The base notebook: every task is complete, nothing is solved as it is shipped, and everything can be solved."""

import ast
import os
import re
from pathlib import Path

import nbclient
import nbformat
import pytest
from model_answers import ANSWERS

from lab1 import checks

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = nbformat.read(ROOT / "Lab1-CNNs.ipynb", as_version=4)
CELLS = {cell.id: cell for cell in NOTEBOOK.cells}
TASKS = [pytest.param(f"task-{check.task:02d}", check, id=check.name) for check in checks.CHECKS]


def printed(cell) -> str:
    """What a cell has printed, without colours."""
    text = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@pytest.mark.parametrize(("task", "check"), TASKS)
def test_parts_of_a_task(task, check):
    """Header, stub, check and hints stand in this order; the check is given what the stub defines."""
    ids = list(CELLS)
    parts = [task, f"{task}-stub", f"{task}-check", f"{task}-hints"]
    assert ids[ids.index(task) :][:4] == parts
    [node] = ast.parse(CELLS[parts[1]].source).body
    assert node.name == check.name and check.name in ANSWERS
    function = next(name for name, value in vars(checks).items() if value is check)
    assert CELLS[parts[2]].source == f"task_{check.task} = checks.{function}({check.name})"
    assert "nbval-ignore-output" not in CELLS[parts[2]].metadata.get("tags", [])


@pytest.mark.parametrize(("task", "check"), TASKS)
def test_header(task, check):
    title, _, rating, _, *goal = CELLS[task].source.splitlines()
    assert title == f"### Task {check.task}: `{check.name}`"
    numbers = re.fullmatch(
        r"\*\*Difficulty\*\* ([1-5]) of 5 · \*\*Importance\*\* ([1-5]) of 5 · \*\*Minutes\*\* (\d+)", rating
    )
    assert numbers and 5 <= int(numbers[3]) <= 40
    assert "*A correct answer:*" in "\n".join(goal)


@pytest.mark.parametrize(("task", "check"), TASKS)
def test_stub(task, check):
    """At most 15 lines, documented, typed, and nothing but NotImplementedError inside."""
    source = CELLS[f"{task}-stub"].source
    assert len(source.splitlines()) <= 15
    [node] = ast.parse(source).body
    assert ast.get_docstring(node)
    functions = [each for each in ast.walk(node) if isinstance(each, ast.FunctionDef)]
    assert source.count("raise NotImplementedError") == len(functions)
    for function in functions:
        arguments = [each for each in function.args.args if each.arg != "self"]
        assert arguments and all(each.annotation for each in arguments)
        assert function.returns or function.name == "__init__"


@pytest.mark.parametrize(("task", "check"), TASKS)
def test_hints_have_the_titles_that_the_check_names(task, check):
    source = CELLS[f"{task}-hints"].source
    titles = re.findall(r"<details><summary>(.*?)</summary>\n\n", source)
    assert set(titles) == set(check.hints) and len(titles) == len(check.hints) <= 3
    assert source.count("</details>") == len(titles)


def test_predictions_have_space_for_an_answer():
    """Whoever is asked to think first finds a cell to write into before anything is run."""
    cells = NOTEBOOK.cells
    asking = [
        i for i, cell in enumerate(cells) if cell.cell_type == "markdown" and re.search(r"\*\*Think first", cell.source)
    ]
    asking = [i for i in asking if cells[i].id != "intro-use"]
    assert len(asking) >= 12
    assert all(cells[i + 1].id.startswith("answer-") for i in asking)
    assert sum(cell.id.startswith("answer-") for cell in cells) == len(asking)


def test_as_shipped():
    """Every check says "not started", and so does the table at the end."""
    for task, check in (case.values for case in TASKS):
        claims = len(check.claims)
        text = f"Task {check.task}, {check.name}: not started, 0 of {claims} points\n"
        assert printed(CELLS[f"{task}-check"]) == text
    assert CELLS["scorecard"].source == "checks.scorecard()"
    [output] = CELLS["scorecard"].outputs
    assert output.data["text/plain"].count("not started") == output.data["text/html"].count("not started") == 12


def snippets(cell) -> list[str]:
    return re.findall(r"```python\n(.*?)```", cell.source, re.DOTALL) if cell.cell_type == "markdown" else []


def test_table_of_contents():
    """Headings are unique, and every heading of two levels can be reached from the first cell."""
    texts = [cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown"]
    headings = re.findall(r"^(#{1,3}) (.+)$", "\n".join(texts), re.MULTILINE)
    headings = [(len(level), title.replace("`", "").replace(" ", "-")) for level, title in headings]
    assert len(dict.fromkeys(headings)) == len(headings)
    targets = re.findall(r"\]\(#(.*?)\)", texts[0])
    assert set(targets) <= {title for _, title in headings}
    assert {title for level, title in headings if level == 1} - set(targets) == {headings[0][1]}
    assert sum(target.startswith("Task-") for target in targets) == 12


def test_every_picture_has_a_text():
    pictures = [
        output for cell in NOTEBOOK.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 5
    assert all(re.fullmatch(r"[A-Z].{20,}\.", output.metadata["image/png"]["alt"]) for output in pictures)


def solved(notebook):
    """A copy in which every stub is replaced by the model answer."""
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        if cell.id.endswith("-stub"):
            [node] = ast.parse(cell.source).body
            cell.source = ANSWERS[node.name].strip()
    return notebook


def pasted(notebook):
    """A copy with each exercise's snippets, in their order, in the cell for its experiment."""
    notebook, waiting = nbformat.from_dict(notebook), []
    for cell in notebook.cells:
        waiting += snippets(cell)
        if cell.id.endswith("-yours"):
            assert waiting, cell.id
            cell.source, waiting = "\n".join(waiting), []
    assert not waiting
    return notebook


def run(notebook, folder):
    """Its cells by id, executed with the smallest budget and results below the folder."""
    environment = os.environ | {"LAB1_OUTPUT": str(folder), "LAB1_PROFILE": "smoke"}
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": ROOT}}
    )
    client.execute(env=environment)
    return {cell.id: cell for cell in notebook.cells}


def test_solvable(tmp_path):
    """With the model answers every cell runs, all checks pass, and no cell waits for a task."""
    cells = run(solved(NOTEBOOK), tmp_path)
    for task, check in (case.values for case in TASKS):
        points = len(check.claims)
        first_line = f"Task {check.task}, {check.name}: passed, {points} of {points} points\n"
        assert printed(cells[f"{task}-check"]).startswith(first_line), printed(cells[f"{task}-check"])
    text = "".join(printed(cell) for cell in cells.values() if cell.cell_type == "code")
    assert "This cell needs task" not in text
    assert cells["scorecard"].outputs[0].data["text/plain"].count("passed") == 12
    assert "returns its input: True, returns zeros: False" in printed(cells["ex12-zero-run"])
    assert "returns its input: False, returns zeros: True" in printed(cells["ex12-zero-run"])
    assert "20 layers, skip=True: 272,474 parameters" in printed(cells["ex12-count"])
    assert "20 layers, skip=False: 269,722 parameters" in printed(cells["ex12-count"])
    assert "the classifier says: True" in printed(cells["ex22-surgery-run"])
    assert "the same: True" in printed(cells["ex23-cam-run"])


def test_snippets_run_as_printed(tmp_path):
    """Pasted in order into the cells for experiments; each figure is shown once, with its text, and kept."""
    cells = run(pasted(solved(NOTEBOOK)), tmp_path)
    figures = {path.stem for path in (tmp_path / "student-images").iterdir()}
    wanted = {"mlp_curves", "mlp_depth", "cnn_depth", "loss_skip_connection", "result-exercise2", "result-exercise3"}
    wanted |= {"result-exercise2_2", "result-exercise2_3", "grad-cam_model", "fcn_model"}
    assert wanted | {"grads_skip_connections_epoch0", "grads_no_skip_connections_epoch10"} <= figures
    shown = 0
    for cell in cells.values():
        if cell.id.endswith("-yours"):
            assert len(printed(cell).splitlines()) <= 60, "a wall of output"
            pictures = [output for output in cell.outputs if {"image/png", "image/jpeg"} & set(output.get("data", {}))]
            assert all(text["alt"] for output in pictures for text in output.metadata.values())
            shown += len(pictures)
    assert shown == len(figures)


def test_a_cell_in_the_middle_says_what_it_needs(tmp_path):
    """After a restart only the set-up has run."""
    notebook = nbformat.from_dict(NOTEBOOK)
    notebook.cells = [cell for cell in notebook.cells if cell.id.startswith("setup-") or cell.id == "ex21-first-run"]
    cells = run(notebook, tmp_path)
    assert printed(cells["ex21-first-run"]).startswith("This cell needs task 5 and task 6 solved: ")


def test_an_error_is_told_with_its_cell(tmp_path):
    notebook = solved(NOTEBOOK)
    kept = ("setup-", "task-11-stub", "task-11-check")
    notebook.cells = [cell for cell in notebook.cells if cell.id.startswith(kept)]
    stub, check = notebook.cells[-2:]
    stub.source = stub.source.replace("ious = []", "ious = [].pop()")
    run(notebook, tmp_path)
    assert f"IndexError: pop from empty list (in cell In[{stub.execution_count}], line 2: ious = [].pop())" in printed(
        check
    )


def test_a_changed_budget_is_noticed(tmp_path):
    notebook = solved(NOTEBOOK)
    kept = ("setup-", "task-01-stub", "task-01-check", "ex11-loss-run")
    notebook.cells = [cell for cell in notebook.cells if cell.id.startswith(kept)]
    notebook.cells[-1].source = 'os.environ["LAB1_PROFILE"] = "cpu"\n' + notebook.cells[-1].source
    text = printed(run(notebook, tmp_path)["ex11-loss-run"])
    assert text == "The budget is now 'cpu', but the data are those of 'smoke': run all cells.\n"


def test_without_a_choice_the_budget_is_that_of_the_start(monkeypatch):
    choice, names = CELLS["setup-data"].source.partition("if not Path")[0], {"os": os}
    monkeypatch.setenv("LAB1_PROFILE", "cpu")
    for budget, expected in {"smoke": "smoke", "": "cpu"}.items():
        exec(choice.replace('BUDGET = ""', f"BUDGET = {budget!r}"), names)
        assert os.environ["LAB1_PROFILE"] == expected
