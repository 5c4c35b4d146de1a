"""An SVG out of a record: a panel a workload, a bar an engine and precision, time along the axis."""

from dataclasses import dataclass
from html import escape

from peers import summary
from peers.table import number

WIDTH, PANEL_GAP, COLUMNS = 960, 36, 2
MARGIN, NAME_WIDTH, VALUE_WIDTH = 24, 178, 52
BAR, STEP, GROUP_GAP = 13, 18, 8
TITLE_HEIGHT, HEAD_HEIGHT, FOOT_HEIGHT = 92, 30, 26
TICKS = 4

# Both schemes keep a contrast of at least 3:1 between bars and background, 4.5:1 for text.
STYLE = """
  svg { --ground: #ffffff; --ink: #1f2328; --quiet: #59636e; --line: #d1d9e0; --ours: #c2410c;
        --f32: #2f6fb7; --bf16: #2d7d46; --int8: #8250b4; }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #0d1117; --ink: #e6edf3; --quiet: #9198a1; --line: #3d444d; --ours: #f0883e;
          --f32: #6ca4e8; --bf16: #56b870; --int8: #b48ae0; }
  }
  text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink); }
  .title { font-size: 17px; font-weight: 600; } .head { font-size: 13px; font-weight: 600; }
  .quiet { fill: var(--quiet); } .ours { font-weight: 600; } .end { text-anchor: end; } .middle { text-anchor: middle; }
  .ground { fill: var(--ground); } .line { stroke: var(--line); } .edge { stroke: var(--ours); stroke-width: 2; }
  .f32 { fill: var(--f32); } .bf16 { fill: var(--bf16); } .int8 { fill: var(--int8); }
"""


@dataclass(frozen=True)
class Bar:
    """One engine at one precision."""

    name: str
    precision: str
    ms: float
    ours: bool


def bars(model: dict, workload: str) -> list[list[Bar]]:
    """The bars of a panel, a group a dtype. An engine of another precision has its bar in the group of its own."""
    groups = []
    for dtype in summary.dtypes(model):
        group = []
        ours = summary.ours_ms(model, dtype, workload)
        if ours:
            group.append(Bar(f"crossrank {dtype}", dtype, ours, True))
        for name in summary.labels(model, dtype):
            cell = summary.cell(model, dtype, name, workload)
            if cell and model["engines"][cell.key]["precision"] == dtype:
                group.append(Bar(f"{name} {dtype}", dtype, cell.ms, False))
        if group:
            groups.append(group)
    return groups


def text(x: float, y: float, content: str, kind: str = "") -> str:
    """A line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(content)}</text>'


def tick_step(most: float) -> float:
    """A round distance between ticks, so that there are about TICKS of them."""
    power = 1.0
    while power * 10 <= most / TICKS:
        power *= 10
    while power > most / TICKS:
        power /= 10
    return next((power * n for n in (1, 2, 5) if power * n * TICKS >= most), power * 10)


def panel_height(groups: list[list[Bar]]) -> float:
    """Room for a panel's head, bars and axis."""
    rows = sum(len(group) for group in groups)
    return HEAD_HEIGHT + rows * STEP + (len(groups) - 1) * GROUP_GAP + FOOT_HEIGHT


def panel(x: float, y: float, width: float, title: str, groups: list[list[Bar]]) -> list[str]:
    """One workload."""
    most = max(bar.ms for group in groups for bar in group)
    left, length = x + NAME_WIDTH, width - NAME_WIDTH - VALUE_WIDTH
    scale = length / most
    bottom = y + panel_height(groups) - FOOT_HEIGHT
    parts = [text(x, y + 14, title, "head")]
    step = tick_step(most)
    tick = 0.0
    while tick <= most * 1.0001:
        at = left + tick * scale
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y + HEAD_HEIGHT - 6:.1f}" y2="{bottom:.1f}" class="line"/>'
        )
        parts.append(text(at, bottom + 14, f"{tick:,g}", "quiet middle"))
        tick += step
    parts.append(text(left + length + 20, bottom + 14, "ms", "quiet"))
    row = y + HEAD_HEIGHT
    for group in groups:
        for bar in group:
            parts.append(text(left - 8, row + BAR - 2.5, bar.name, "end ours" if bar.ours else "end"))
            edge = " edge" if bar.ours else ""
            size = f'x="{left:.1f}" y="{row:.1f}" width="{max(1.0, bar.ms * scale):.1f}" height="{BAR}"'
            parts.append(f'<rect {size} rx="1.5" class="{bar.precision}{edge}"/>')
            value = text(left + bar.ms * scale + 7, row + BAR - 2.5, number(bar.ms), "ours" if bar.ours else "")
            parts.append(value)
            row += STEP
        row += GROUP_GAP
    return parts


def legend(x: float, y: float, dtypes: list[str]) -> list[str]:
    """What colours and outlines mean."""
    parts = []
    for dtype in dtypes:
        parts.append(f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="{BAR}" height="{BAR}" rx="1.5" class="{dtype}"/>')
        parts.append(text(x + 18, y + 1, dtype))
        x += 66
    parts.append(f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="{BAR}" height="{BAR}" rx="1.5" class="ground edge"/>')
    parts.append(text(x + 18, y + 1, "crossrank"))
    return parts


def plot(record: dict) -> str:
    """The whole picture."""
    model = record["models"][0]
    names = [name for name in model["workloads"] if bars(model, name)]
    groups = {name: bars(model, name) for name in names}
    width = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * PANEL_GAP) / COLUMNS
    parts, y = [], float(TITLE_HEIGHT)
    for start in range(0, len(names), COLUMNS):
        line = names[start : start + COLUMNS]
        for column, name in enumerate(line):
            counts = model["workloads"][name]
            pairs = f"{counts['pairs']} pair{'s' if counts['pairs'] > 1 else ''}"
            title = f"{name}: {pairs}, {counts['tokens']:,} tokens"
            parts += panel(MARGIN + column * (width + PANEL_GAP), y, width, title, groups[name])
        y += max(panel_height(groups[name]) for name in line) + 14
    sizes, machine = model["sizes"], record["machine"]
    subtitle = (
        f"BERT cross-encoder, {sizes['num_hidden_layers']} layers, hidden {sizes['hidden_size']}; "
        f"{record['options']['threads']} threads, {machine['cpu']}; tokenising included"
    )
    head = [
        text(MARGIN, 32, "Time from text to score, median (shorter is better)", "title"),
        text(MARGIN, 52, subtitle, "quiet"),
        *legend(MARGIN, 76, summary.dtypes(model)),
    ]
    about = 'role="img" aria-label="Time from text to score by engine, precision and workload"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" {about}>'
    ground = f'<rect width="{WIDTH}" height="{y:.0f}" class="ground"/>'
    return "\n".join([opening, f"<style>{STYLE}</style>", ground, *head, *parts, "</svg>", ""])
