"""What a cell shows, as far as it is kept: so little that no notebook fills the grader's memory or a page."""

from lab1.grade.notebook import plain

MOST_PRINTED = 20_000_000  # characters that a cell may print or show
MOST_TEXT = 5000  # characters of an output that are kept
MOST_TEXTS = 8_000_000  # of all outputs of a notebook
MOST_OUTPUTS = 50  # of a cell
MOST_IMAGE = 700_000  # characters of a picture in base64
MOST_IMAGES = 4_000_000  # of all pictures of a notebook
IMAGES = ("image/png", "image/jpeg")


class Outputs:
    """The outputs of a cell: [("text" | "image/png" | "html" ..., content)], and its error, one line."""

    images = texts = 0  # characters of all pictures and all other outputs so far

    def __init__(self, notebook: "Outputs | None" = None):
        self.kept: list[tuple[str, str]] = []
        self.printed, self.error, self.too_many = 0, "", ""
        self.notebook = notebook or self

    def add(self, kind: str, content: dict) -> None:
        """An output of the kernel's. A malformed one is not shown."""
        try:
            self.printed += len(str(content)) if kind != "stream" else len(content["text"])
            if self.printed > MOST_PRINTED:
                self.too_many = f"it printed more than {MOST_PRINTED:,} characters"
            elif kind == "stream":
                self._stream("error" if content["name"] == "stderr" else "text", content["text"])
            elif kind == "error":
                self.error = plain(f"{content['ename']}: {content['evalue']}", 200)
                self._keep("error", "\n".join(content["traceback"]) or self.error)
            elif kind in ("display_data", "execute_result"):
                self._show(content["data"])
        except Exception:
            return

    def _stream(self, kind: str, text: str) -> None:
        if self.kept and self.kept[-1][0] == kind:
            before = self.kept.pop()[1]
            self.notebook.texts -= len(before)
            self._keep(kind, before if before.endswith(CUT) else before + text)
        else:
            self._keep(kind, text)

    def _show(self, data: dict) -> None:
        for kind in IMAGES:
            if kind in data:
                image = "".join(data[kind].split())
                self.notebook.images += len(image)
                if len(image) > MOST_IMAGE or self.notebook.images > MOST_IMAGES:
                    return self._keep("text", "(a picture that is too large to be shown)")
                if len(self.kept) < MOST_OUTPUTS:
                    self.kept.append((kind, image))
                return None
        return self._keep("html" if "text/html" in data else "text", str(data.get("text/html", data["text/plain"])))

    def _keep(self, kind: str, text: str) -> None:
        most = MOST_TEXT if kind != "html" else 4 * MOST_TEXT
        text = text if len(text) <= most else text[:most] + CUT
        if len(self.kept) < MOST_OUTPUTS and self.notebook.texts < MOST_TEXTS:
            self.kept.append((kind, text))
            self.notebook.texts += len(text)


CUT = "\n... and more"
