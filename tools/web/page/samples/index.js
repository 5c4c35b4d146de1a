// The sample sets, all of them written for this page. On each but the last the default model does well.

import handbook from "./handbook.js";
import helpdesk from "./helpdesk.js";
import hotels from "./hotels.js";
import kitchen from "./kitchen.js";
import nature from "./nature.js";

/**
 * @typedef {object} Sample
 * @property {string} id
 * @property {string} title
 * @property {string} about
 * @property {string[]} questions the first is asked at once
 * @property {Record<string, number[]>} answers the passages that answer each question, by their numbers from 0
 * @property {string[]} passages
 * @property {boolean} [long] whether passages are long documents
 */

/** @type {Sample[]} */
export const samples = [nature, kitchen, helpdesk, handbook, hotels];
