"""What members of the front find in some images: the section of the page."""

from __future__ import annotations

from base64 import b64encode
from html import escape

from invnas.masks import palette
from invnas.report.collect import ReportData
from invnas.report.html_tables import button

#: Members of which the page holds a picture: of more, these many spread over the front, the knee among them.
_SHOWN = 6


def section(data: ReportData) -> str:
    """Return a section with a picture for each of a few members; nothing where none was drawn."""
    known = [point for point in data.front if point.number in data.beyond.pictures]
    if not known:
        return ""
    if len(known) > _SHOWN:
        places = {round(i * (len(known) - 1) / (_SHOWN - 1)) for i in range(_SHOWN)}
        knee = data.knee.number if data.knee else None
        known = [point for i, point in enumerate(known) if i in places or point.number == knee]
    learned, spent = data.headline
    shown = ""
    for point in known:
        picture = b64encode(data.beyond.pictures[point.number]).decode()
        words = f"{learned.show(point.standing(learned))}, {spent.label} {point.shown(spent)}"
        shown += (
            f"<figure><figcaption>Trial {button(point)}: {escape(words)}</figcaption><img "
            f'src="data:image/png;base64,{picture}" alt="What trial {point.number} finds in test images" '
            'style="max-width:100%;image-rendering:pixelated"></figure>'
        )
    note = (
        f"The first images of the test, cheapest member first: {data.beyond.legend.note}. They are the same for all, "
        "and nothing is chosen by them."
    )
    return (
        f'<section id="pictures">\n<h2>What the front finds</h2>\n<p class="note">{escape(note)}</p>{_legend(data)}'
        f'<div class="gallery">{shown}</div>\n</section>'
    )


def _legend(data: ReportData) -> str:
    """Return the colour of each class, where they have names."""
    first = data.beyond.legend.first
    colours, names = palette()[3 * first :], data.beyond.classes
    chips = "".join(
        '<span style="margin-right:1em"><span style="display:inline-block;width:.8em;height:.8em;margin-right:.3em;'
        f'border:1px solid #888;background:rgb{tuple(colours[3 * i : 3 * i + 3])}"></span>{escape(name)}</span>'
        for i, name in enumerate(names[:40])
    )
    return f'<p class="note">{chips}</p>' if chips else ""
