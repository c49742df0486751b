import { expect, it } from "vitest";

import type { JobDetail } from "@/api/client";
import type { EventData } from "@/api/events";
import { describeEvent } from "@/features/job/EventLog";
import { stagesOf } from "@/features/job/Timeline";
import { CATALOG, STAGES } from "@/testing/catalog";

const shown = (config: object) => stagesOf(config as JobDetail["config"], CATALOG).map(({ name }) => name);
const without = (...roles: string[]) => STAGES.filter((name) => !roles.some((role) => name.includes(role)));

it("a job shows the stages of the catalog but those of a detector that it has not", () => {
  expect(shown({ kind: "distill", control: true })).toEqual(STAGES);
  expect(shown({ kind: "distill", control: false })).toEqual(without("control"));
  expect(shown({ kind: "train" })).toEqual(without("teacher", "control"));
  expect(without("teacher", "control").length).toBe(STAGES.length - 2);
});

it("the log says what an event holds, whatever it is called", () => {
  const said = (kind: string, data: object) => describeEvent({ kind, data: data as EventData }, CATALOG);
  expect(said("a", { state: "failed", error: { message: "It broke." } })).toBe("failed: It broke.");
  expect(said("a", { state: "running", cancel_requested: true })).toBe("cancellation requested");
  expect(said("a", { stage: STAGES[0] })).toBe(`doing ${STAGES[0]}`);
  expect(said("a", { stage: "of_tomorrow" })).toBe("of tomorrow");
  expect(said("a", { role: "student", metrics: { ap: 0.5 }, epoch: 2 })).toBe("student AP 50.0 at epoch 2.0");
  expect(said("a", { role: "teacher", teacher: "big", loaded: 3, total: 4, missing: ["x"] })).toBe("teacher big weights: 3 of 4 tensors, 1 missing");
  expect(said("a", { role: "teacher", teacher: "teacher", metrics: { ap: 0.5 }, epoch: 0 })).toBe("teacher AP 50.0 at epoch 0.0");
  expect(said("saved_state", { role: "control", step: 7, file: "x" })).toBe("saved state of the control at step 7");
  expect(said("over", { result: { verdict: "no gain" } })).toBe("over: no gain");
  expect(said("halt", {})).toBe("It was halted.");
  expect(said("of_tomorrow", {})).toBe("of tomorrow");
});
