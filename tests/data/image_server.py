"""The servers of torchvision, on this computer, and small CIFAR-10 and MNIST archives for them."""

import contextlib
import gzip
import hashlib
import http.server
import io
import pickle
import socket
import struct
import tarfile
import threading

from torchvision.datasets import CIFAR10


class Server(http.server.ThreadingHTTPServer):
    """Serves bytes by name. Of a name in `broken` it sends one half, once. With a fault it does not do even that:

    "resets" every connection, is "silent" after the request, "stalls" after a half, or "drips" a byte at a time.
    """

    daemon_threads = True

    def __init__(self, fault: str | None = None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault, self.stopped = fault, threading.Event()
        self.files, self.broken, self.downloads = {}, set(), []
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.stopped.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        self.server.downloads.append(name)
        if self.server.fault == "resets":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return self.connection.close()
        if self.server.fault == "silent":
            return self.server.stopped.wait()
        if name not in self.server.files:
            return self.send_error(404)
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if name in self.server.broken:
            self.server.broken.remove(name)
            content = content[: len(content) // 2]
        if self.server.fault == "stalls":
            self.wfile.write(content[: len(content) // 2])
            return self.server.stopped.wait()
        if self.server.fault == "drips":
            return self.drip(content)
        return self.wfile.write(content)

    def drip(self, content):
        with contextlib.suppress(OSError):  # the client has gone
            for byte in content:
                self.wfile.write(bytes([byte]))
                if self.server.stopped.wait(0.02):
                    return

    def log_message(self, *args):
        pass


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def cifar10_archive(arrays):
    """The tar.gz in the layout of the CIFAR-10 home page, and what is in it: {name: bytes}."""
    parts = [(f"data_batch_{i + 1}", slice(20 * i, 20 * (i + 1)), "train") for i in range(5)]
    content = {}
    for name, rows, part in [*parts, ("test_batch", slice(None), "test")]:
        images = arrays[f"x_{part}"][rows].transpose(0, 3, 1, 2).reshape(-1, 3072)
        content[name] = pickle.dumps({"data": images, "labels": arrays[f"y_{part}"][rows].tolist()})
    content["batches.meta"] = pickle.dumps({"label_names": list(CIFAR10.meta)})
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, item in content.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(item)
            tar.addfile(member, io.BytesIO(item))
    return archive.getvalue(), content


def mnist_archives(arrays):
    """{name: bytes} of the four gzipped idx files."""
    content = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        content[f"{prefix}-images-idx3-ubyte.gz"] = struct.pack(">4i", 0x803, *x.shape) + x.tobytes()
        content[f"{prefix}-labels-idx1-ubyte.gz"] = struct.pack(">2i", 0x801, len(y)) + y.tobytes()
    return {name: gzip.compress(item) for name, item in content.items()}
