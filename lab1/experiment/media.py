"""A table with pictures as one HTML page that needs no other file."""

import base64
import html
import io

import numpy as np

STYLE = "table {border-collapse: collapse} td, th {padding: 4px; font: 13px sans-serif} img {width: 128px}"


def page(rows: list[dict]) -> str:
    """A column for each key of the first row; arrays (H, W) or (H, W, 3) in 0..1 become pictures, all else is text."""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>" for row in rows)
    return f'<meta charset="utf-8"><style>{STYLE}</style><table><tr>{head}</tr>{body}</table>'


def _cell(value) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if not isinstance(value, np.ndarray):
        return html.escape(str(value))
    from PIL import Image

    picture = io.BytesIO()
    Image.fromarray((255 * value).round().astype(np.uint8)).save(picture, format="png")
    data = base64.b64encode(picture.getvalue()).decode()
    return f'<img style="image-rendering: pixelated" src="data:image/png;base64,{data}">'
