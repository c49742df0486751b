import { expect, it } from "vitest";

import type { JobDetail, JobMetrics, RunResult } from "@/api/client";
import { reportsOf } from "@/features/job/ResultTable";
import { teacherAps } from "@/features/job/Scores";

const job = (teachers: object, values: object = {}) => ({ config: { kind: "distill", teachers }, result: null, ap: {}, ...values }) as JobDetail;
const metrics = (...rows: [teacher: string, ap: number][]) =>
  ({ series: [], evaluations: rows.map(([teacher, ap]) => ({ role: teacher ? "teacher" : "student", teacher, ap })) }) as unknown as JobMetrics;

it("every teacher has its AP: of the result, else of its evaluation; the student's own average has none", () => {
  const two = { big: {}, small: { source: "checkpoint" }, own: { source: "ema" } };
  expect(teacherAps(job(two), undefined)).toEqual([{ name: "big", ap: undefined }, { name: "small", ap: undefined }]);
  expect(teacherAps(job(two, { ap: { teacher: 0.5 } }), metrics(["", 0.1], ["small", 0.5]))).toEqual([
    { name: "big", ap: undefined },
    { name: "small", ap: 0.5 },
  ]);
  const result = { teachers: { big: { metrics: { ap: 0.6 } } } };
  expect(teacherAps(job(two, { result }), metrics(["big", 0.1]))[0]).toEqual({ name: "big", ap: 0.6 });
  expect(teacherAps(job({ teacher: {} }, { ap: { teacher: 0.5 } }), undefined)).toEqual([{ name: "teacher", ap: 0.5 }]);
  expect(teacherAps({ ...job({}), config: { kind: "train" } } as JobDetail, undefined)).toEqual([]);
});

it("the table has a row for every detector, the teachers by their names", () => {
  const named = (result: object) => reportsOf(result as unknown as RunResult).map(({ role, name }) => [role, name]);
  expect(named({ student: {}, teachers: { small: {}, teacher: {}, big: {} }, control: {} })).toEqual([
    ["teacher", "teacher"],
    ["teacher", "teacher big"],
    ["teacher", "teacher small"],
    ["student", "student"],
    ["control", "control"],
  ]);
  expect(named({ student: {}, control: null })).toEqual([["student", "student"]]);
});
