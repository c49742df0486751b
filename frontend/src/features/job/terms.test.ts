import { expect, it } from "vitest";

import type { JobDetail, JobMetrics } from "@/api/client";
import { groups, singles } from "@/features/job/terms";
import { CATALOG, KINDS } from "@/testing/catalog";

const metrics = (...names: string[]): JobMetrics => ({
  series: names.map((name) => ({ role: "student", name, steps: [1], epochs: [1], values: [1] })),
  evaluations: [],
});

const CONFIG = { kind: "distill", teachers: { big: {}, helper: {} } } as unknown as JobDetail["config"];

const NAMES = [
  "detection.novel",
  "detection.giou",
  "detection.classification",
  ...KINDS.toReversed().map((kind) => `${kind}.l1`),
  `helper.${KINDS[0]}.l1`,
  `big.${KINDS[0]}.l1`,
  "helper.of_tomorrow.some_term",
  "of_tomorrow.glow",
  "stray.a.b",
  "temperature",
  "lr",
  "total",
];

it("every curve is drawn once, known or not", () => {
  const all = metrics(...NAMES);
  for (const known of [CATALOG, { methods: [], curves: [] }]) {
    const drawn = [...singles(all, known).map(([name]) => name), ...groups(all, CONFIG, known).flatMap(({ terms }) => terms.map(([name]) => name))];
    expect(drawn.toSorted()).toEqual(NAMES.toSorted());
  }
});

it("charts have the titles and the order of the catalog; others follow under their own names", () => {
  const found = groups(metrics(...NAMES), CONFIG, CATALOG);
  expect(found.map(({ title }) => title)).toEqual([
    "Detection loss",
    ...KINDS.map((kind) => `Title of ${kind}`),
    `Teacher big: Title of ${KINDS[0]}`,
    `Teacher helper: Title of ${KINDS[0]}`,
    "Teacher helper: Of tomorrow",
    "Of tomorrow",
    "Stray",
  ]);
  expect(found[0]?.terms).toEqual([
    ["detection.classification", "classification"],
    ["detection.giou", "giou"],
    ["detection.novel", "novel"],
  ]);
  expect(found.at(-3)?.terms).toEqual([["helper.of_tomorrow.some_term", "some term"]]);
  expect(singles(metrics(...NAMES), CATALOG).map(([, title]) => title)).toEqual(["Total loss", "Learning rate", "Temperature"]);
});

it("the curves of a single teacher begin with the method, even where the teacher has a name", () => {
  const config = { kind: "distill", teachers: { big: {} } } as unknown as JobDetail["config"];
  expect(groups(metrics(`${KINDS[0]}.l1.a`, "big.l1"), config, CATALOG).map(({ title }) => title)).toEqual([`Title of ${KINDS[0]}`, "Big"]);
});
