// What is searched: a sample, or the visitor's own text.

import { byId, counted, element } from "./dom.js";
import { guessUnit, readText, split } from "./split.js";
import { samples } from "../samples/index.js";

/** The passages in the text area, and the questions that go with them. */
export class Texts {
  #area = byId("passages");
  /** The sample that is in the text area as it is, or none. */
  #sample;
  #onChange;

  /**
   * @param {{ask(question: string): void, change(): void, trouble(message: string): void}} hear `ask` is called when a
   *   question was chosen, `change` when the passages are others
   */
  constructor(hear) {
    this.#onChange = hear.change;
    byId("samples").replaceChildren(
      ...samples.map((sample) =>
        element("button", {
          type: "button",
          "aria-pressed": "false",
          text: sample.title,
          onclick: () => this.choose(sample, hear.ask),
        }),
      ),
      element("button", {
        type: "button",
        "aria-pressed": "false",
        text: "Your own text",
        onclick: () => this.#empty(),
      }),
    );
    this.#area.addEventListener("input", () => this.#own());
    for (const radio of this.#units()) radio.addEventListener("change", () => this.#changed());
    const take = (file) => file && this.#take(file).catch((error) => hear.trouble(error.message));
    byId("file").addEventListener("change", ({ target }) => take(target.files[0]));
    this.#drop(take);
  }

  /** The passages as they stand. */
  get passages() {
    return split(this.#area.value, this.#unit());
  }

  /** The numbers of those that answer a question, where a sample says so. */
  answers(question) {
    return this.#sample?.answers[question];
  }

  choose(sample, ask) {
    this.#area.value = sample.passages.join(sample.long ? "\n\n" : "\n");
    this.#check(sample.long ? "paragraph" : "line");
    byId("long").checked = Boolean(sample.long);
    this.#become(sample);
    byId("questions").replaceChildren(
      ...sample.questions.map((question) =>
        element("button", { type: "button", text: question, onclick: () => ask(question) }),
      ),
    );
    this.#changed();
    ask(sample.questions[0]);
  }

  /** The first sample. */
  begin(ask) {
    this.choose(samples[0], ask);
  }

  /** Room for the visitor's own text. */
  #empty() {
    this.#area.value = "";
    this.#own();
    byId("texts").open = true;
    this.#area.focus();
  }

  async #take(file) {
    const text = await readText(file);
    this.#area.value = text;
    this.#check(guessUnit(text));
    byId("texts").open = true;
    this.#own(file.name);
  }

  /** What is in the text area is no sample any more. */
  #own(name) {
    this.#become(undefined, name ? `From your file ${name}.` : "Paste or type passages below, then ask.");
    byId("questions").replaceChildren();
    this.#changed();
  }

  #become(sample, about = sample.about) {
    this.#sample = sample;
    byId("about").textContent = about;
    for (const [i, button] of [...byId("samples").children].entries()) {
      // The last button has no sample.
      button.setAttribute("aria-pressed", String(samples[i] === sample));
    }
  }

  #changed() {
    byId("count").textContent = counted(this.passages.length, "passage");
    this.#onChange();
  }

  #units() {
    return document.querySelectorAll("input[name=unit]");
  }

  #unit() {
    return [...this.#units()].find((radio) => radio.checked).value;
  }

  #check(unit) {
    for (const radio of this.#units()) radio.checked = radio.value === unit;
  }

  /** A file may be dropped anywhere: else the browser would leave the page for it. */
  #drop(take) {
    const isFile = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
    const over = (isOver) => document.body.classList.toggle("dropping", isOver);
    addEventListener("dragover", (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      over(true);
    });
    addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
    addEventListener("drop", (event) => {
      over(false);
      if (!isFile(event)) return;
      event.preventDefault();
      take(event.dataTransfer.files[0]);
    });
  }
}
