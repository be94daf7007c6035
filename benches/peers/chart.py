#!/usr/bin/env python3
"""Turns the JSON of `cargo bench --bench throughput` into docs/performance.svg and the tables of docs/performance.md.

    python3 benches/peers/chart.py target/bench/throughput.json [target/bench/memory.json ...]
    python3 benches/peers/chart.py target/bench/growth.json

A --growth run has a place of its own there, and is given alone. Of other runs the first file gives the machine and the
versions; works of further files (a --long run) are added to its own. Trial runs are refused unless --allow-trial is given.
Needs nothing but Python's standard library.
"""

import argparse
import json
import pathlib
import sys
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARKERS = {False: ("<!-- figures: begin -->", "<!-- figures: end -->"), True: ("<!-- growth: begin -->", "<!-- growth: end -->")}
TITLES = {"oxmq": "oxmq", "floor": "floor", "node": "BullMQ (Node)", "official": "bullmq-official"}
VERSIONS = {"oxmq": "oxmq", "floor": "oxmq", "node": "bullmq", "official": "bullmq-official"}
COLOURS = {"oxmq": "#d9480f", "floor": "#adb5bd", "node": "#2b8a3e", "official": "#3b5bdb"}
# What grows: the heading of its table, and what the sizes count.
AXES = {
    "waiting": ("Jobs waiting", "jobs waiting"),
    "running": ("Jobs running", "jobs running"),
    "payload": ("Size of a job's data", "bytes"),
    "whole queue": ("Operations on a whole queue", "jobs in it"),
}
# Goals, which stand on the page with what was measured: the figure of a work, beside that of a rival, or of another work
# (`beside`), is to be at least or at most so much. Without either it is the figure itself.
GOALS = [
    {"work": "process@1", "key": "redis_us_per_job", "rival": "floor", "most": 1.6},
    {"work": "process@10", "key": "redis_us_per_job", "rival": "floor", "most": 1.8},
    {"work": "process@100", "key": "redis_us_per_job", "rival": "floor", "most": 1.2},
    {"work": "add_concurrent", "key": "redis_us_per_job", "rival": "floor", "most": 1.5},
    {"work": "add_bulk", "key": "redis_us_per_job", "rival": "floor", "most": 1.4},
    {"work": "process@1", "key": "jobs_per_s", "rival": "official", "least": 1.2},
    {"work": "process@10", "key": "jobs_per_s", "rival": "official", "least": 2.7},
    {"work": "process@100", "key": "jobs_per_s", "rival": "official", "least": 3},
    {"work": "process@100", "key": "jobs_per_s", "rival": "node", "least": 3},
    {"work": "process@1000", "key": "jobs_per_s", "rival": "official", "least": 3.2},
    {"work": "add_sequential", "key": "jobs_per_s", "rival": "official", "least": 1.15},
    {"work": "add_concurrent", "key": "jobs_per_s", "rival": "official", "least": 2.3},
    {"work": "add_bulk", "key": "jobs_per_s", "rival": "official", "least": 3},
    {"work": "flow_add", "key": "jobs_per_s", "rival": "official", "least": 3},
    {"work": "process@100", "key": "client_us_per_job", "rival": "official", "most": 0.25},
    {"work": "share@8x20", "key": "jobs_per_s", "beside": "share@1x20", "least": 0.95},
    {"work": "share@8x20", "key": "redis_us_per_job", "beside": "share@1x20", "most": 1.1},
    {"work": "far/add_sequential", "key": "jobs_per_s", "rival": "official", "least": 1.2},
    {"work": "far/process@1", "key": "jobs_per_s", "rival": "official", "least": 1.2},
    {"work": "far/process@10", "key": "jobs_per_s", "rival": "official", "least": 2},
    {"work": "far/process_prefetch@1", "key": "jobs_per_s", "rival": "official", "least": 1.2},
    {"work": "far/process_prefetch@10", "key": "jobs_per_s", "rival": "official", "least": 2},
    {"work": "lateness", "key": "p50_ms", "most": 3},
    {"work": "lateness", "key": "p99_ms", "most": 15},
    {"work": "lateness_retry", "key": "p50_ms", "most": 3},
    {"work": "lateness_retry", "key": "p99_ms", "most": 15},
    {"work": "latency", "key": "p50_us", "rival": "official", "most": 1},
    {"work": "idle", "key": "close_ms", "most": 50},
]
# The figures drawn, each a panel of its own scale.
PANELS = [
    ("jobs_per_s", "jobs per second", "longer is better", 0),
    ("redis_us_per_job", "Redis CPU per job, µs", "shorter is better", 1),
    ("client_us_per_job", "client CPU per job, µs", "shorter is better", 1),
]


def number(value, decimals):
    return f"{value:,.{decimals}f}"


def spread(figure, decimals):
    ends = f"{number(figure['min'], decimals)}–{number(figure['max'], decimals)}"
    return f"{number(figure['median'], decimals)} ({ends})"


def summary(work, peer, key):
    return work["peers"].get(peer, {}).get("summary", {}).get(key)


def peers_of(document):
    return [peer for peer in document["peers"] if any(peer_has_figures(work, peer) for work in document["works"])]


def peer_has_figures(work, peer):
    return bool(work["peers"].get(peer, {}).get("summary"))


def is_throughput(work):
    return any(metric["key"] == "redis_us_per_job" for metric in work["metrics"])


def header_cells(cells):
    return ["| " + " | ".join(cells) + " |", "|" + " --- |" + " ---: |" * (len(cells) - 1)]


def row(cells):
    return "| " + " | ".join(cells) + " |"


def figure_table(works, peers, key, decimals, plain=None):
    """One figure of several works: a row per work, a column per peer, then the first peer's ratio to each rival, and to itself
    in the plain work of that name where there are such."""
    first, rivals = peers[0], peers[1:]
    heads = ["work"] + [TITLES[peer] for peer in peers] + [f"{TITLES[first]} ÷ {TITLES[rival]}" for rival in rivals]
    heads += [f"{TITLES[first]} ÷ plain"] if plain else []
    lines = header_cells(heads)
    for work in works:
        cells = [f"`{work['label']}`"]
        for peer in peers:
            figure = summary(work, peer, key)
            cells.append(spread(figure, decimals) if figure else "–")
        for rival in rivals:
            figure = work["ratios"].get(rival, {}).get(key)
            cells.append(f"**{spread(figure, 2)}**" if figure else "–")
        if plain:
            there = plain.get(work["label"].partition("/")[2])
            cells.append(number(summary(work, first, key)["median"] / summary(there, first, key)["median"], 2) if there else "–")
        lines.append(row(cells))
    return lines


def work_table(work, peers):
    """All figures of one work: a row per figure."""
    lines = header_cells([f"`{work['label']}`"] + [TITLES[peer] for peer in peers])
    for metric in work["metrics"]:
        cells = [metric["title"]]
        for peer in peers:
            figure = summary(work, peer, metric["key"])
            cells.append(spread(figure, metric["decimals"]) if figure else "–")
        lines.append(row(cells))
    return lines


def machine_of(document, peers):
    versions, machine = document["versions"], document["machine"]
    names = ", ".join(f"{TITLES[peer]} {versions.get(VERSIONS[peer]) or '?'}" for peer in peers if peer != "floor")
    return (
        f"Measured {document['date'][:10]}: {names}; Redis {versions['redis']}, Node {versions['node']}, "
        f"{(versions.get('rustc') or '').split(' (')[0]}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['kernel']}."
    )


def setting(document, peers):
    return [
        f"{machine_of(document, peers)} Medians of {document['rounds']} alternating rounds, least and greatest in "
        "brackets; ratios are medians of the ratios within each round.",
    ]


def growth_table(works, peer, unit):
    """A row per work and size, each beside the smallest size of its work."""
    lines = header_cells(
        ["work", unit, "jobs/s", "Redis µs/job", "× first", "client µs/job", "longest script, ms"]
    )
    firsts = {}
    for work in works:
        def median(key):
            return summary(work, peer, key)["median"]

        cost = median("redis_us_per_job")
        first = firsts.setdefault(work["work"], cost)
        lines.append(row([
            f"`{work['work']}`", number(work["size"], 0), number(median("jobs_per_s"), 0), number(cost, 1),
            number(cost / first, 2), number(median("client_us_per_job"), 1),
            spread(summary(work, peer, "longest_script_ms"), 1),
        ]))
    return lines


def growth(document):
    peer = document["peers"][0]
    blocks = [[
        f"{machine_of(document, [peer])} Medians of {document['rounds']} rounds; of the longest script also the least "
        "and the greatest."
    ]]
    if document["trial"]:
        blocks.append(["**A trial run: these figures say nothing.**"])
    for axis, (title, unit) in AXES.items():
        works = [work for work in document["works"] if work["axis"] == axis]
        if works:
            blocks.append([f"### {title}"])
            blocks.append(growth_table(works, peer, unit))
    return "\n\n".join("\n".join(block) for block in blocks)


def way_of(work):
    """How the peer runs and reaches the server: what stands before the slash of the label."""
    way, slash, _ = work["label"].partition("/")
    return way if slash else ""


def is_shared(work):
    return work["label"].startswith("share@")


def goal_row(goal, works, first):
    """What a goal says, what was measured of it, and whether that will do; nothing where it was not measured."""
    work, rival, beside = works.get(goal["work"]), goal.get("rival"), works.get(goal.get("beside"))
    if not work or ("beside" in goal and not beside):
        return None
    own = summary(work, first, goal["key"])
    metric = next(metric for metric in work["metrics"] if metric["key"] == goal["key"])
    share, decimals, told = own, metric["decimals"], f"`{goal['work']}`, {metric['title']}"
    if rival:
        share, decimals, told = work["ratios"].get(rival, {}).get(goal["key"]), 2, f"{told}, beside {TITLES[rival]}"
    elif beside:
        share = {"median": own["median"] / summary(beside, first, goal["key"])["median"]}
        decimals, told = 2, f"{told}, beside `{goal['beside']}`"
    if not share:
        return None
    is_met = share["median"] >= goal["least"] if "least" in goal else share["median"] <= goal["most"]
    unit = " ×" if rival or beside else ""
    wanted = f"≥ {goal['least']}" if "least" in goal else f"≤ {goal['most']}"
    measured = spread(share, decimals) if "min" in share else number(share["median"], decimals)
    return row([told, wanted + unit, measured + unit, floor_of(work, goal), "met" if is_met else "**missed**"])


def floor_of(work, goal):
    """Where the floor itself stands for a goal beside a library: more than that no library can reach."""
    floor, rival = summary(work, "floor", goal["key"]), goal.get("rival")
    if not floor or rival in (None, "floor"):
        return ""
    return f"{floor['median'] / summary(work, rival, goal['key'])['median']:.2f} ×"


def goal_table(works, first):
    named = {work["label"]: work for work in works}
    rows = [goal_row(goal, named, first) for goal in GOALS]
    return header_cells(["", "aim", "measured", "the floor's", ""]) + [line for line in rows if line]


def share_table(works, peers):
    """A row per figure and number of processes, a column per peer."""
    lines = header_cells(["processes × concurrency"] + [TITLES[peer] for peer in peers])
    for key, title, decimals in [("jobs_per_s", "jobs/s", 0), ("redis_us_per_job", "Redis µs/job", 1)]:
        for work in works:
            cells = [f"{work['label'].removeprefix('share@').replace('x', ' × ')}, {title}"]
            for peer in peers:
                figure = summary(work, peer, key)
                cells.append(spread(figure, decimals) if figure else "–")
            lines.append(row(cells))
    return lines


def late_table(works, peers):
    """A row per work and figure, a column per peer."""
    lines = header_cells(["late by, ms"] + [TITLES[peer] for peer in peers])
    for work in works:
        for key, title in [("p50_ms", "p50"), ("p99_ms", "p99")]:
            figures = [summary(work, peer, key) for peer in peers]
            lines.append(row([f"`{work['label']}`, {title}"] + [spread(one, 1) if one else "–" for one in figures]))
    return lines


def figures(document):
    peers, works = peers_of(document), document["works"]
    rivals = [peer for peer in peers if peer != "floor"]
    throughput = [work for work in works if is_throughput(work)]
    blocks = [["## Figures"], setting(document, peers)]
    if document["trial"]:
        blocks.append(["**A trial run: these figures say nothing.**"])
    blocks.append(["![jobs per second, Redis CPU and client CPU per job](performance.svg)"])
    near = near_works(throughput)
    for key, title, hint, decimals in PANELS if near else []:
        blocks.append([f"### {title[0].upper()}{title[1:]}"])
        blocks.append([f"{hint.capitalize()}." if key == "jobs_per_s" else "Less is better."])
        # The floor is no library whose own time would say anything.
        blocks.append(figure_table(near, rivals if key == "client_us_per_job" else peers, key, decimals))
    shared = [work for work in throughput if is_shared(work)]
    if shared:
        blocks += [["### Several processes on one queue"], share_table(shared, rivals)]
    for way, title in [
        ("far", "A server one millisecond away, jobs per second"),
        ("threads", "On two threads, jobs per second"),
        ("tls", "Over TLS, jobs per second"),
    ]:
        there = [work for work in throughput if way_of(work) == way]
        able = [peer for peer in peers if any(peer_has_figures(work, peer) for work in there)]
        if there:
            # Far away another number of jobs is measured, and the way is what is asked about.
            plain = {work["label"]: work for work in near} if way != "far" else {}
            blocks += [[f"### {title}"], figure_table(there, able, "jobs_per_s", 0, plain)]
    late = [work for work in works if any(metric["key"] == "p50_ms" for metric in work["metrics"])]
    if late:
        blocks += [["### Jobs whose time has come"], late_table(late, peers)]
    rest = [work for work in works if work not in throughput and work not in late]
    if rest:
        blocks.append(["### Latency, idling, memory"])
    for work in rest:
        blocks.append(work_table(work, [peer for peer in rivals if peer_has_figures(work, peer)]))
    blocks += [["### Aims"], goal_table(works, peers[0])]
    return "\n\n".join("\n".join(block) for block in blocks)


def near_works(works):
    """Those of one process beside the server, which the chart shows, too."""
    return [work for work in works if not way_of(work) and not is_shared(work)]


def chart(document):
    peers = peers_of(document)
    works = near_works([work for work in document["works"] if is_throughput(work)])
    bar, gap, label_width, panel_width, value_width, top = 11, 12, 130, 150, 66, 78
    group = bar * len(peers) + gap
    panel_pitch = panel_width + value_width + 14
    width = label_width + panel_pitch * len(PANELS) + 6
    height = top + group * len(works) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="11" role="img" '
        'aria-label="Bar charts: jobs per second, Redis CPU per job and client CPU per job">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]

    def text(x, y, content, **attributes):
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="#212529"{extra}>{escape(content)}</text>')

    x = label_width
    for peer in peers:
        parts.append(f'<rect x="{x}" y="10" width="11" height="11" fill="{COLOURS[peer]}"/>')
        title = f"{TITLES[peer]} {document['versions'].get(VERSIONS[peer]) or ''}".strip()
        text(x + 16, 20, title, font_size=12)
        x += 34 + 7 * len(title)
    for index, work in enumerate(works):
        middle = top + group * index + bar * len(peers) / 2
        text(label_width - 8, middle + 4, work["label"], text_anchor="end")
    for number_of_panel, (key, title, hint, decimals) in enumerate(PANELS):
        left = label_width + panel_pitch * number_of_panel
        text(left, 48, title, font_weight="bold", font_size=12)
        text(left, 63, hint, fill_opacity="0.7")
        found = [summary(work, peer, key) for work in works for peer in peers]
        longest = max((figure["max"] for figure in found if figure), default=1) or 1
        scale = panel_width / longest
        for index, work in enumerate(works):
            for place, peer in enumerate(peers):
                figure = summary(work, peer, key)
                if not figure:
                    continue
                y = top + group * index + bar * place
                length = figure["median"] * scale
                low, high = figure["min"] * scale, figure["max"] * scale
                parts.append(
                    f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 1}" fill="{COLOURS[peer]}"/>'
                )
                line_y = y + (bar - 1) / 2
                parts.append(
                    f'<path d="M{left + low:.1f} {line_y}H{left + high:.1f}" stroke="#212529" stroke-opacity="0.6"/>'
                )
                text(left + max(length, high) + 4, y + bar - 2, number(figure["median"], decimals), font_size=10)
        parts.append(
            f'<path d="M{left - 0.5} {top - 4}V{height - 12}" stroke="#868e96" stroke-width="1" fill="none"/>'
        )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def load(paths, allow_trial):
    document = None
    for path in paths:
        with open(path, encoding="utf-8") as file:
            read = json.load(file)
        if read["trial"] and not allow_trial:
            sys.exit(f"{path} holds a trial run (too few rounds, other job numbers, or not pinned); see --allow-trial")
        for work in read["works"]:
            for peer, series in work["peers"].items():
                if series["error"]:
                    sys.exit(f"{path}: {work['label']} of {peer} failed: {series['error']}")
        if document is None:
            document = read
        elif document.get("growth", False) or read.get("growth", False):
            sys.exit("a --growth run is given alone")
        else:
            document["works"] += read["works"]
            document["trial"] = document["trial"] or read["trial"]
    return document


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", nargs="+")
    parser.add_argument("--docs", type=pathlib.Path, default=ROOT / "docs", help="directory of performance.md")
    parser.add_argument("--allow-trial", action="store_true")
    options = parser.parse_args()

    document = load(options.json, options.allow_trial)
    page = options.docs / "performance.md"
    text = page.read_text(encoding="utf-8")
    begin, end = MARKERS[document.get("growth", False)]
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{page} must have the lines {begin} and {end} once each")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    body = growth(document) if document.get("growth", False) else figures(document)
    page.write_text(f"{before}{begin}\n\n{body}\n\n{end}{after}", encoding="utf-8")
    if document.get("growth", False):
        return
    (options.docs / "performance.svg").write_text(chart(document), encoding="utf-8")


if __name__ == "__main__":
    main()
