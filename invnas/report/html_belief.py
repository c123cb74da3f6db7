"""What the page says of noise: what is believed, how well that predicts, what matters, what to train next."""

from __future__ import annotations

from html import escape

from invnas.belief import LEAST
from invnas.objective import MACS, PARAMETERS, Objective
from invnas.report.collect import ReportData
from invnas.report.drawing import summary
from invnas.report.html_tables import button, empty
from invnas.report.units import LOOKS


def answers(data: ReportData) -> str:
    """Return the answers of the run, a sentence each."""
    learned, cost = data.headline
    found = [one.sentence(learned, cost) for one in data.comparisons]
    return "".join(f'<p class="answer">{escape(sentence)}</p>' for sentence in found)


def belief(data: ReportData) -> str:
    """Return what the surrogate believes beyond the picture of the front."""
    learned, _ = data.headline
    told = "" if data.chance is None else f"<p>{escape(data.chance.sentence(learned))}</p>"
    if not data.belief.known:
        few = f"Below {LEAST} trained architectures, or where all are equal, what was measured is all that is believed."
        return told + empty(few)
    further = sum(seeds > 1 for seeds in data.belief.seeds.values())
    note = (
        "What an architecture is believed to reach on average over seeds, from all trials together: a surrogate of "
        "decisions and costs, and what each was seen to reach. The band is 95 % of that mean, not of one training."
    )
    seeds = (
        f"{further} architectures have several seeds." if further else
        "Every architecture has one seed, so how much seeds differ is itself estimated (invnas confirm tells)."
    )  # fmt: skip
    parts = [f'<p class="note">{escape(note)} {escape(seeds)}</p>', told, _calibration(data)]
    return "".join([*parts, _influences(data), _prospects(data)])


def _calibration(data: ReportData) -> str:
    said = []
    for axis in data.belief.objectives:
        rank = data.belief.rank.get(axis.name)
        words = "unknown: all predictions are one" if rank is None else f"{rank:.2f}"
        said.append(f"{axis.label} {words}")
    trained = sum(seeds > 0 for seeds in data.belief.seeds.values())
    return (
        "<p>How well it predicts an architecture from the others alone (rank correlation, leaving one of "
        f"{trained} out): "
        f"{escape('; '.join(said))}.</p>"
    )


def _influences(data: ReportData) -> str:
    found, axis = data.beyond.outlook.influences, data.belief.objectives[0]
    if not found:
        return ""
    rows = "".join(
        f'<tr><td class="text">{escape(_place(one.path))}</td><td>{_step(axis, one.matters)}</td>'
        f"<td>{escape(one.best)}</td><td>{_step(axis, one.gain, sign=True)}</td></tr>"
        for one in found
    )
    note = (
        "The members of the front are given a decision, with all that is decided under it, as other trained "
        "architectures have it, at the costs they have: how much the options differ, which is believed best, and by "
        "how much it beats the middle."
    )
    head = f'<th class="text">decision</th><th>options differ by</th><th>best</th><th>{axis.label} gained</th>'
    return (
        f'<h3>Which decisions matter along the front</h3><p class="note">{note}</p><div class="scroll"><table><thead>'
        f"<tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _place(path: str) -> str:
    """Return stages.0.blocks.*.spatial as stage 1: spatial."""
    first, *rest = path.split(".")
    if rest and rest[0].isdecimal():
        return f"{first.removesuffix('s')} {int(rest[0]) + 1}: {rest[-1]}"
    return f"{first}: {rest[-1]}" if rest else first


def _step(axis: Objective, value: float, sign: bool = False) -> str:
    scaled, unit = (100 * value, " points") if axis.unit == "share" else (value, "")
    return f"{scaled:+.2f}{unit}" if sign else f"{scaled:.2f}{unit}"


def _prospects(data: ReportData) -> str:
    found, learned = data.beyond.outlook.prospects, data.belief.objectives
    if not found:
        return ""
    costs = [axis for axis in data.objectives if axis.source != "learned"] or [MACS, PARAMETERS]
    rows = ""
    for one in found:
        bands = ""
        for axis in learned:
            said = one.estimates[axis.name]
            mean, low, high = (axis.show(end) for end in (said.mean, said.low, said.high))
            bands += f"<td>{mean} ({low} to {high})</td>"
        spent = "".join(f"<td>{axis.show(one.cost[axis.name])}</td>" for axis in costs)
        what = "<br>".join(escape(line) for line in summary(one.architecture))
        kind = one.architecture.kind
        rows += (
            f'<tr><td class="text"><span class="kind {kind}">{LOOKS[kind].name}</span></td>{spent}{bands}'
            f'<td>{100 * one.share:.1f} %</td><td class="text small">{what}</td></tr>'
        )
    names = "".join(f"<th>{axis.label}</th>" for axis in costs) + "".join(
        f"<th>{axis.label} believed</th>" for axis in learned
    )
    head = f'<th class="text">operators</th>{names}<th>expected gain</th><th class="text">architecture</th>'
    note = (
        "Not trained yet. The gain is what one is expected to add to what the front covers; unsure ones may gain most."
    )
    if any(axis.source == "metered" for axis in costs):
        note += " Latencies are foretold from those that were measured."
    return (
        f'<h3>The most promising untrained architectures</h3><p class="note">{note}</p><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def retrained(data: ReportData) -> str:
    """Return what `retrain` found or has found so far, beside what the search had measured."""
    if not data.beyond.retrained:
        return empty("Nothing of this run was retrained from scratch (invnas retrain).")
    axis, by_number = data.headline[0], {point.number: point for point in data.points}
    rows = ""
    for one in data.beyond.retrained:
        point = by_number.get(one.asked.trial)
        number, search = (one.asked.trial, "") if point is None else (button(point), point.shown(axis))
        mean, deviation = one.spread(axis.name) if one.seeds else (None, None)
        figure = "" if mean is None else axis.show(mean)
        if deviation is not None:
            figure += f" ± {_step(axis, deviation)}"
        each = ", ".join(axis.show(seed.test.get(axis.name)) for seed in one.seeds)
        options = escape(one.asked.words(data.experiment)) or "as in the search"
        at = one.standing
        now = "" if at is None else f"<br>under way: seed {at.seed},<br>epoch {at.epoch} of {one.asked.recipe.epochs}"
        rows += (
            f'<tr data-trial="{one.asked.trial}"><td>{number}</td><td>{one.asked.recipe.epochs}</td>'
            f'<td class="text small">{options}<br><b>{escape(one.asked.name)}</b></td><td>{len(one.seeds)}{now}</td>'
            f'<td>{figure}</td><td class="long">{each}</td><td>{search}</td></tr>'
        )
    head = (
        f'<th>trial</th><th>epochs</th><th class="text">options, name</th><th>seeds</th>'
        f"<th>test {axis.label}, mean ± sd</th><th>each seed</th><th>{axis.label} in the search</th>"
    )
    note = (
        "What was retrained is measured on the test images, the number of the search is that of the validation images. "
        "Where the options say all_data, those were trained on too. What trained last is shipped by invnas export "
        "--pick retrained."
    )
    return (
        f'<p class="note">{note}</p><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
