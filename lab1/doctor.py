"""python -m lab1.doctor

Looks at this computer and says in one line each what the lab finds, and what to do where something is wrong. Where even
PyTorch is missing, `python lab1/doctor.py` does the same.

exit status: 0 all is well, perhaps with notes (--); 1 something has to be mended (NO).
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTED = ((3, 11), (3, 14))
FREE = 2e9  # bytes: checkpoints, figures and W&B's runs of the whole lab
OK, NOTE, NO = "ok", "--", "NO"
Finding = tuple[str, str, str]  # OK, NOTE or NO; what was found; what to do, or ""


def python() -> Iterator[Finding]:
    found = f"{platform.python_version()}, {Path(sys.prefix)}"
    if sys.version_info < TESTED[0]:
        yield NO, found, "install Python 3.11 to 3.14, and make .venv anew with it"
    elif sys.version_info[:2] > TESTED[1]:
        yield NOTE, found, "newer than what the lab was tested with: if something fails, take Python 3.14"
    elif sys.prefix == sys.base_prefix:
        yield NOTE, found, "no virtual environment: other programs may change the packages. `make run` makes .venv"
    else:
        yield OK, found, ""


def packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    pins = [Requirement(line) for line in _lines(ROOT / "constraints.txt")]
    known = {pin.name: pin.specifier for pin in pins if pin.marker is None or pin.marker.evaluate()}
    requirements = [Requirement(line) for line in _lines(ROOT / "requirements.txt")]
    missing, others = [], []
    for requirement in requirements:
        name = requirement.name
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield NO, f"{name} {version}, but the lab needs {requirement}", _install()
        elif name in known and not known[name].contains(version, prereleases=True):
            others.append(f"{name} {version}")
    if missing:
        yield NO, f"not installed: {', '.join(missing)}", _install()
    elif not requirements:
        yield NOTE, f"no requirements.txt in {ROOT}", "packages were not compared"
    elif others:
        yield NOTE, f"not as in constraints.txt: {', '.join(others)}", f"if something fails: {_install()}"
    else:
        yield OK, f"{len(requirements)} as in constraints.txt", ""


def device() -> Iterator[Finding]:
    import torch

    from lab1.basics.device import default_device, gains_from_bf16, hardware

    kind = default_device()
    number = "bf16" if gains_from_bf16(kind) else "float32"
    found = f"{kind.type}, {hardware()}, trains in {number}, PyTorch {torch.__version__}"
    if kind.type == "cpu" and shutil.which("nvidia-smi"):
        advice = "an NVIDIA card, but PyTorch cannot use it: install torch as pytorch.org says, or update the driver"
        yield NOTE, found, advice
    else:
        yield OK, found, ""


def threads() -> Iterator[Finding]:
    import torch

    count, cores = torch.get_num_threads(), os.cpu_count() or 1
    found = f"{count} of {cores} cores"
    if 2 * count < cores and count < 4:
        yield NOTE, found, "training is slow with so few: unset OMP_NUM_THREADS and MKL_NUM_THREADS"
    else:
        yield OK, found, ""


def disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    ok = free >= FREE
    yield OK if ok else NO, f"{free / 1e9:.1f} GB free here", "" if ok else f"make room: {FREE / 1e9:.0f} GB are needed"


def profile() -> Iterator[Finding]:
    from lab1.experiment import profiles

    yield OK, f"{profiles.current().name!r}, results in {profiles.output_folder().resolve()}", ""


def images() -> Iterator[Finding]:
    from lab1 import data

    folder = Path(os.environ.get("LAB1_DATA") or "data")
    for name in ("cifar10", "mnist"):
        snapshot = folder / f"{name}.npz"
        with contextlib.redirect_stdout(io.StringIO()):  # load says where data come from, once
            found = str(data.load(name, download=False))
        if snapshot.exists():
            yield OK, f"{found}; sha256 {_sha256(snapshot)[:16]}", ""
        elif "sample" in found or "Shapes-10" in found:
            advice = f"with a network they are downloaded at first use; else put {name}.npz into {folder.absolute()}"
            yield NOTE, f"{name} is not in {folder}; without a network: {found}", advice
        else:
            yield OK, f"{found}; CRC-32 {data.load(name, download=False).train.fingerprint:08x}", ""


def writing() -> Iterator[Finding]:
    from lab1.experiment import profiles

    for part in ("images", "model_states", "wandb"):
        folder = profiles.output_folder(part)
        with tempfile.TemporaryFile(dir=folder):
            pass
    yield OK, f"images, model_states and wandb in {profiles.output_folder().resolve()} can be written to", ""


def jupyter() -> Iterator[Finding]:
    from jupyter_client.kernelspec import KernelSpecManager

    command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    mend = f"{sys.executable} -m ipykernel install --sys-prefix --name python3"
    if Path(command).name != command and Path(command).resolve() != Path(sys.executable).resolve():
        yield NO, f"the kernel python3 starts {command}, not this Python", mend
    elif importlib.util.find_spec("ipykernel") is None:
        yield NO, "ipykernel is not installed", _install()
    else:
        yield OK, "the kernel python3 starts this Python", ""
    widgets = Path(sys.prefix) / "share/jupyter/labextensions/@jupyter-widgets"
    if not widgets.exists():
        yield NOTE, "JupyterLab has no widgets", f"progress bars are text: {_install()}"


def wandb() -> Iterator[Finding]:
    from lab1.experiment import tracking

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        mode = tracking.mode()
    if said.getvalue():
        yield NOTE, f"{mode}: {said.getvalue().strip()}", "correct WANDB_MODE or WANDB_API_KEY"
    else:
        means = {"offline": "runs stay on this computer until `wandb sync`", "disabled": "nothing is logged"}
        yield OK, f"{mode}: {means.get(mode, 'runs are sent to your account')}", ""


CHECKS = {
    "Python": python,
    "packages": packages,
    "device": device,
    "threads": threads,
    "disk": disk,
    "budget": profile,
    "data": images,
    "writing": writing,
    "Jupyter": jupyter,
    "W&B": wandb,
}


def _lines(path: Path) -> list[str]:
    """The lines of a requirements file that name a package; none if it is not there."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _install() -> str:
    if sys.prefix == sys.base_prefix:
        return (
            "`make run`, or what the README says for your system: it makes .venv with all of them; then use its Python"
        )
    return f"{sys.executable} -m pip install -r requirements.txt -c constraints.txt"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def examine(check) -> list[Finding]:
    """The findings of one check; an error is one."""
    found = []
    try:
        found.extend(check())
    except ModuleNotFoundError as error:
        found.append((NO, f"{error.name} is not installed", _install()))
    except Exception as error:  # the others are still of interest
        found.append((NO, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", ""))
    return found


def main() -> int:
    bad = 0
    for name, check in CHECKS.items():
        for state, found, advice in examine(check):
            print(f"{state}  {name:9} {found}" + (f"\n    {'':9} -> {advice}" if advice else ""), flush=True)
            bad += state == NO
    print(f"{bad} things have to be mended" if bad else "all is well")
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.path[0] == str(ROOT / "lab1"):  # started as a file
        sys.path[0] = str(ROOT)
    sys.exit(main())
