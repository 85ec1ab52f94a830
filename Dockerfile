# The lab with PyTorch's CPU build, for a user without privileges.
#
#   docker build -t lab1 .
#   docker run --rm -p 127.0.0.1:8888:8888 -v "$PWD/data:/home/student/lab1/data:ro" lab1
#
# Grading needs some options more: docs/grading.md, "In a container".
FROM python:3.12-slim-bookworm

RUN apt-get update && apt-get install --yes --no-install-recommends bubblewrap git make \
    && rm -rf /var/lib/apt/lists/* && useradd --create-home --uid 1000 --shell /bin/bash student

USER student
RUN mkdir /home/student/lab1
WORKDIR /home/student/lab1
# first what seldom changes, so that a rebuild does not install again
COPY --chown=student Makefile requirements.txt constraints.txt ./
RUN make .venv/installed CPU=1 && rm -rf ~/.cache
COPY --chown=student . .
RUN touch .venv/installed

ENV LAB1_PROFILE=cpu
EXPOSE 8888
CMD [".venv/bin/jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
