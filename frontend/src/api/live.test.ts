import { expect, it } from "vitest";

import type { JobMetrics } from "./client";
import type { EventData } from "./events";
import { withEvent } from "./live";

const EMPTY: JobMetrics = { series: [], evaluations: [] };
const step = (number: number, data: EventData): EventData => ({ role: "student", step: number, epoch: number / 10, ...data });

it("a step adds a point to every loss and to every curve of the catalog; known ones stay as they are", () => {
  const first = withEvent(EMPTY, step(1, { losses: { total: 3 }, images_per_second: 8, progress: 0.1 }), ["images_per_second", "lr"]);
  expect(first.series.map(({ name, values }) => [name, values])).toEqual([
    ["images_per_second", [8]],
    ["total", [3]],
  ]);
  const second = withEvent(first, step(2, { losses: { total: 2 } }), []);
  expect(second.series.map(({ values }) => values)).toEqual([[8], [3, 2]]);
  expect(withEvent(second, step(2, { losses: { total: 9 } }), [])).toEqual(second);
});

it("an evaluation takes the place of the one of the same step; other events change nothing", () => {
  const row = (ap: number) => step(4, { metrics: { ap } as NonNullable<EventData["metrics"]> });
  const twice = withEvent(withEvent(EMPTY, row(0.1), []), row(0.2), []);
  expect(twice.evaluations).toEqual([{ ap: 0.2, role: "student", teacher: "", step: 4, epoch: 0.4 }]);
  expect(withEvent(twice, { state: "running" }, [])).toBe(twice);
});

it("every teacher has a row of its own", () => {
  const row = (teacher: string, ap: number): EventData => ({ role: "teacher", teacher, step: 0, epoch: 0, metrics: { ap } as NonNullable<EventData["metrics"]> });
  const all = [row("big", 0.5), row("small", 0.3), row("big", 0.6)].reduce((metrics, data) => withEvent(metrics, data, []), EMPTY);
  expect(all.evaluations.map(({ teacher, ap }) => [teacher, ap])).toEqual([["small", 0.3], ["big", 0.6]]);
});
