import { expect, it } from "vitest";

import type { JobDetail, JobMetrics } from "@/api/client";
import { groups, singles } from "@/features/job/terms";
import { METHODS } from "@/lib/methods";

const metrics = (...names: string[]): JobMetrics => ({
  series: names.map((name) => ({ role: "student", name, steps: [1], epochs: [1], values: [1] })),
  evaluations: [],
});

const config = (values: object) => ({ kind: "distill", ...values }) as unknown as JobDetail["config"];

const NAMES = [
  "detection.giou",
  "detection.classification",
  "proposal.l1",
  ...METHODS.map(({ kind }) => `${kind}.features`),
  "helper.matched_logits.l1",
  "helper.of_tomorrow.some_term",
  "of_tomorrow.glow",
  "stray.a.b",
  "total",
  "lr",
  "grad_norm",
  "temperature",
];

it("every curve is drawn once, known or not", () => {
  const all = metrics(...NAMES);
  const chosen = config({ methods: [{ kind: "query_prior" }], further_teachers: { helper: {} } });
  const drawn = [...singles(all).map(([name]) => name), ...groups(all, chosen).flatMap(({ terms }) => terms.map(([name]) => name))];
  expect(drawn.toSorted()).toEqual(NAMES.toSorted());
});

it("groups have titles and an order", () => {
  const chosen = config({ methods: [{ kind: "query_prior" }, { kind: "matched_logits" }], further_teachers: { helper: {} } });
  const found = groups(metrics(...NAMES), chosen);
  expect(found.map(({ title }) => title)).toEqual([
    "Detection loss",
    "Proposals",
    "Query prior",
    "Matched logits",
    "Distillation points (KD-DETR)",
    "Whole feature maps",
    "Foreground memory (CLoCKDistill)",
    "Of tomorrow",
    "Stray",
    "Target-aware features",
    "Teacher helper: Matched logits",
    "Teacher helper: Of tomorrow",
  ]);
  expect(found[0]?.terms).toEqual([["detection.classification", "classification"], ["detection.giou", "giou"]]);
  expect(found.at(-1)?.terms).toEqual([["helper.of_tomorrow.some_term", "some term"]]);
  expect(singles(metrics(...NAMES)).map(([, title]) => title)).toEqual(["Total loss", "Learning rate", "Gradient norm", "Temperature"]);
});
