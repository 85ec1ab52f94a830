"""One submission from its bytes to its details and page: what a worker does, on this machine or another."""

import hashlib
import platform
from dataclasses import dataclass, field

from lab1.grade import sandbox
from lab1.grade.kernel import Limits
from lab1.grade.notebook import Unreadable, plain
from lab1.grade.page import page
from lab1.grade.report import details
from lab1.grade.run import Grading, grade
from lab1.grade.submissions import Submission, digest

MOST_NAMED = 5  # files in a remark


@dataclass(frozen=True)
class Job:
    """A submission with all that it consists of. left_out: files beside it that do not come along, and why.
    unreadable: why there is nothing to grade; "" if there is."""

    submission: Submission
    content: bytes
    beside: dict[str, bytes]
    digest: str
    left_out: dict[str, str] = field(default_factory=dict)
    unreadable: str = ""


def prepare(submission: Submission) -> Job:
    """Read a submission. What cannot be read is part of the job."""
    try:
        content = submission.content()
    except Unreadable as error:
        return Job(submission, b"", {}, "", unreadable=str(error))
    beside, left_out = submission.beside()
    return Job(submission, content, beside, digest(content, beside), left_out)


def work(job: Job, limits: Limits, seed: int, sandbox_required: bool) -> tuple[dict, str]:
    """The details and the page of a submission. sandbox_required: without bubblewrap it is not graded."""
    import torch

    torch.set_num_threads(1)
    failure = job.unreadable
    if sandbox_required and sandbox.isolation() != "bubblewrap":
        failure = f"there is no sandbox on {platform.node()}, and --require-sandbox was given: install bubblewrap there"
    grading = Grading(failure=failure) if failure else grade(job.content, job.beside, limits, inputs_of(job, seed))
    grading.remarks += remarks(job)
    return written(job.submission, grading, job.digest)


def inputs_of(job: Job, seed: int) -> int:
    """The seed of a notebook's inputs: another one for each, so that no page tells what the next one is given."""
    return int.from_bytes(hashlib.sha256(f"{seed} {job.digest}".encode()).digest()[:6])


def remarks(job: Job) -> list[str]:
    """What of a student's work was not used."""
    found, left_out = [], [f"{plain(name, 80)} ({why})" for name, why in job.left_out.items()]
    if job.submission.others:
        names = ", ".join(name.rpartition("/")[2] for name in job.submission.others)
        found.append(f"other notebooks of the same student do not count: {names}")
    if left_out:
        more = f", and {len(left_out) - MOST_NAMED} more" if len(left_out) > MOST_NAMED else ""
        found.append(f"files beside the notebook were left out: {', '.join(left_out[:MOST_NAMED])}{more}")
    return found


def lost(submission: Submission, error: BaseException) -> tuple[dict, str]:
    """Of a submission whose worker came to no end."""
    failure = f"the grader's own process ended: {plain(error) or type(error).__name__}"
    return written(submission, Grading(failure=failure), "")


def written(submission: Submission, grading: Grading, digest: str) -> tuple[dict, str]:
    """`details` and `page`; where the scores are so odd that these cannot be written, it is not graded.

    What is not graded has no digest, so that --resume grades it again: the machine may have been to blame.
    """
    isolation = sandbox.isolation()
    try:
        kept = "" if grading.failure else digest
        return details(submission, grading, isolation, kept), page(submission, grading, isolation)
    except Exception as error:
        failed = Grading(failure=f"no report can be written: {type(error).__name__}: {plain(error)}")
        return details(submission, failed, isolation, ""), page(submission, failed, isolation)
