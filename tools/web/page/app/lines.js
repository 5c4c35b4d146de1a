// The lines between the lists.

const SVG = "http://www.w3.org/2000/svg";

/** Draws a line from each item of the right list to the same passage in the left one, and keeps it right as they move. */
export class Lines {
  #svg;
  #before;
  #after;

  constructor(svg, before, after) {
    [this.#svg, this.#before, this.#after] = [svg, before, after];
    new ResizeObserver(() => this.draw()).observe(svg.parentElement);
    for (const list of [before, after]) {
      for (const [event, isOn] of [
        ["pointerover", true],
        ["pointerout", false],
        ["focusin", true],
        ["focusout", false],
      ]) {
        list.addEventListener(event, ({ target }) => this.#highlight(target.closest("li"), isOn));
      }
    }
  }

  draw() {
    const frame = this.#svg.getBoundingClientRect();
    const paths = [];
    for (const item of frame.width > 0 ? this.#after.children : []) {
      const partner = this.#partner(this.#before, item);
      if (!partner) continue;
      const [from, to] = [height(partner) - frame.top, height(item) - frame.top];
      const half = frame.width / 2;
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", `M0 ${from}C${half} ${from} ${half} ${to} ${frame.width} ${to}`);
      path.setAttribute("class", `line way${item.dataset.moved}`);
      path.dataset.index = item.dataset.index;
      paths.push(path);
    }
    this.#svg.replaceChildren(...paths);
  }

  #partner(list, { dataset }) {
    return list.querySelector(`:scope > [data-index="${dataset.index}"]`);
  }

  #highlight(item, isOn) {
    if (!item) return;
    const path = this.#svg.querySelector(`[data-index="${item.dataset.index}"]`);
    for (const each of [path, this.#partner(this.#before, item), this.#partner(this.#after, item)]) {
      each?.classList.toggle("lit", isOn);
    }
    // The last one is on top.
    if (path && isOn) this.#svg.append(path);
  }
}

/** Where the middle of an item's first line is on the screen. */
function height(item) {
  const { top, height } = item.querySelector(".head").getBoundingClientRect();
  return top + height / 2;
}
