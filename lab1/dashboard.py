"""python -m lab1.dashboard --entity NAME

Makes the views that a reviewer of the W&B project needs, as code: a saved workspace, and a report with the same panels.
Both are written to your account, so `wandb login` comes first; --check builds and validates them without one.

exit status: 0 made, or valid; 2 wrong use, or the account cannot be reached.
"""

import argparse
import os
import sys

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from lab1.experiment.tracking import PROJECT

NAME = "Lab 1: what a reviewer looks at"
BY_SKIP = {"groupby": wr.Config("skip"), "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}


def sections() -> dict[str, tuple[str, list]]:
    """Title -> (what it shows, the panels)."""
    norms = {"x": "epoch", "metric_regex": "grad_norm/.*", "log_y": True, "max_runs_to_show": 2}
    return {
        "Loss and accuracy, with and without skip connections": (
            "One line for each kind of network, the band from the worst to the best seed.",
            [
                wr.LinePlot(title=name, x="epoch", y=[name], **BY_SKIP)
                for name in ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
            ],
        ),
        "Gradient norm by layer and epoch": (
            "One line for each layer. The pictures show all layers at every step.",
            [wr.LinePlot(title="gradient norm of every layer", **norms), pictures("grads_heatmap", "grads_comparison")],
        ),
        "Depth": (
            "Each point is a training.",
            [
                wr.ScatterPlot(title=name, x=wr.Config("depth"), y=wr.SummaryMetric(f"last/{name}"))
                for name in ("train/loss", "val/accuracy")
            ]
            + [pictures("mlp_depth", "cnn_depth")],
        ),
        "Segmentation: masks": (
            "Prediction and ground truth can be switched on and off in each picture.",
            [wr.MediaBrowser(media_keys=["segmentations/digits from best to worst", "segmentations/canvas"])],
        ),
        "Grad-CAM: heatmaps": (
            "Image, heatmap, class and probability of each image; then the tests of the heatmaps.",
            [
                wr.MediaBrowser(title="heatmaps", media_keys=["tables/heatmaps"], num_columns=1),
                pictures("gradcam_faithfulness", "gradcam_randomisation", "gradcam_pointing"),
            ],
        ),
    }


def pictures(*names: str) -> wr.MediaBrowser:
    return wr.MediaBrowser(media_keys=[f"figures/{name}" for name in names], num_columns=1)


def workspace(entity: str, project: str) -> ws.Workspace:
    views = [ws.Section(name=title, panels=panels, is_open=True) for title, (_, panels) in sections().items()]
    return ws.Workspace(entity=entity, project=project, name=NAME, sections=views)


def report(entity: str, project: str) -> wr.Report:
    blocks = [wr.TableOfContents()]
    for title, (text, panels) in sections().items():
        runs = [wr.Runset()]  # all of the report's own project
        blocks += [wr.H1(title), wr.P(text), wr.PanelGrid(runsets=runs, panels=panels)]
    return wr.Report(project=project, entity=entity, title=NAME, blocks=blocks)


class Parser(argparse.ArgumentParser):
    def error(self, message):  # one line, without the usage
        self.exit(2, f"{self.prog}: {message}\n")


def main(words: list[str] | None = None) -> int:
    style = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="python -m lab1.dashboard", description=__doc__, formatter_class=style)
    parser.add_argument("--entity", required=True, help="the user or team that owns the project")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT") or PROJECT, help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help="build and validate, send nothing")
    args = parser.parse_args(words)
    made = workspace(args.entity, args.project), report(args.entity, args.project)
    try:
        for each in made:
            if args.check:
                each._to_model()  # what `save` sends; raises if it is not valid
            else:
                each.save()
            print(f"{type(each).__name__}: {'valid' if args.check else each.url}")
    except Exception as error:  # of many kinds: no login, no network, no such entity
        reason = " ".join(str(error).split())[:200]
        parser.error(f"could not be made ({reason}): is `wandb login` done, and is --entity right?")
    return 0


if __name__ == "__main__":
    sys.exit(main())
