"""PyTorch's compiler, imported only by those who use it.

Every `torch.optim` step imports torch._dynamo, to tell a compiler that is not at work where its graph ends: two seconds
of each kernel's time. In a kernel of the grader, where nothing is compiled, that module does nothing until someone asks
for more than that.
"""

import importlib
import sys
from types import ModuleType

import torch

NAME = "torch._dynamo"


class Lazy(ModuleType):
    """In place of torch._dynamo; becomes the real module at the first use of anything else.

    Many a library looks through all modules for a `__file__`: that is no use of it. A `__path__` is what the import of
    a submodule asks for.
    """

    def graph_break(self, *_, **__) -> None:
        """There is no graph."""

    def disable(self, function, *_, **__):
        """There is nothing to switch off."""
        return function

    def __getattr__(self, name: str):
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
            torch._dynamo = importlib.import_module(NAME)
        return getattr(sys.modules[NAME], name)


def install() -> None:
    if NAME not in sys.modules:
        sys.modules[NAME] = torch._dynamo = Lazy(NAME)
