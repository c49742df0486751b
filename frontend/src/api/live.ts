/** Follow a job: server-sent events, with their loss and return made visible. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import type { EvaluationView, JobDetail, JobMetrics } from "./client";

export type LiveState = "live" | "reconnecting" | "ended";

export interface JobEvent {
  id: number;
  kind: string;
  at: string;
  data: Record<string, unknown>;
}

interface StepData {
  role: "student" | "control";
  step: number;
  epoch: number;
  lr: number;
  losses: Record<string, number>;
  grad_norm: number;
  images_per_second: number;
  progress: number;
  eta_seconds: number;
}

const KINDS = ["state", "stage", "weights_loaded", "step", "evaluated", "checkpoint", "finished", "failed", "stopped"];
const KEPT = 200;

/** Keeps job, metrics and artifacts in the cache up to date while the job runs; returns the latest events but for steps. */
export function useLiveJob(id: string, job: JobDetail | undefined): { state: LiveState; events: JobEvent[]; speed: number | null } {
  const cache = useQueryClient();
  const [state, setState] = useState<LiveState>("live");
  const [events, setEvents] = useState<JobEvent[]>([]);
  const [speed, setSpeed] = useState<number | null>(null);
  const known = job !== undefined;

  useEffect(() => {
    if (!known) return;
    const source = new EventSource(`/jobs/${id}/events`); // from the beginning: the log of the page is the job's log
    const pending: JobEvent[] = [];

    const flush = () => {
      if (pending.length === 0) return;
      const batch = pending.splice(0);
      const notable = batch.filter((event) => event.kind !== "step");
      if (notable.length > 0) setEvents((before) => [...before, ...notable].slice(-KEPT));
      for (const event of batch) apply(event);
    };

    const apply = ({ id: eventId, kind, data }: JobEvent) => {
      const current = cache.getQueryData<JobDetail>(["job", id]);
      if (kind === "step") setSpeed((data as unknown as StepData).images_per_second);
      if (current !== undefined && eventId <= current.last_event_id) return; // the page was loaded with it
      if (kind === "step") {
        const step = data as unknown as StepData;
        const { progress, eta_seconds } = step;
        cache.setQueryData<JobDetail>(["job", id], (old) => old && { ...old, progress, eta_seconds });
        cache.setQueryData<JobMetrics>(["metrics", id], (old) => old && withStep(old, step));
      } else if (kind === "evaluated" && !data.teacher) {
        // further teachers have names, and their place in the log and the result
        const row = { ...(data.metrics as object), ...data } as EvaluationView;
        cache.setQueryData<JobMetrics>(["metrics", id], (old) => old && withEvaluation(old, row));
        cache.setQueryData<JobDetail>(
          ["job", id],
          (old) => old && { ...old, ap: { ...old.ap, [row.role]: Math.max(row.ap, old.ap[row.role] ?? -1) } },
        );
      } else if (kind === "stage") {
        cache.setQueryData<JobDetail>(["job", id], (old) => old && { ...old, stage: data.stage as JobDetail["stage"] });
      } else if (kind === "state") {
        void cache.invalidateQueries({ queryKey: ["job", id] });
        void cache.invalidateQueries({ queryKey: ["artifacts", id] });
      }
    };

    const timer = setInterval(flush, 250);
    for (const kind of KINDS) {
      source.addEventListener(kind, (message: MessageEvent<string>) => {
        const { at, ...data } = JSON.parse(message.data) as { at: string } & Record<string, unknown>;
        pending.push({ id: Number(message.lastEventId), kind, at, data });
      });
    }
    source.onopen = () => setState("live");
    source.onerror = () => {
      flush();
      setState(source.readyState === EventSource.CLOSED ? "ended" : "reconnecting");
    };
    return () => {
      clearInterval(timer);
      source.close();
    };
  }, [cache, id, known]);

  const over = job !== undefined && job.finished_at !== null;
  return { state: over ? "ended" : state, events, speed };
}

function withStep(metrics: JobMetrics, step: StepData): JobMetrics {
  const { role } = step;
  const values = new Map(Object.entries({ ...step.losses, lr: step.lr, grad_norm: step.grad_norm }));
  const series = metrics.series.map((curve) => {
    const value = curve.role === role ? values.get(curve.name) : undefined;
    if (value === undefined) return curve;
    values.delete(curve.name);
    if (step.step <= (curve.steps.at(-1) ?? -1)) return curve;
    return {
      ...curve,
      steps: [...curve.steps, step.step],
      epochs: [...curve.epochs, step.epoch],
      values: [...curve.values, value],
    };
  });
  const begun = [...values].map(([name, value]) => ({ role, name, steps: [step.step], epochs: [step.epoch], values: [value] }));
  return { ...metrics, series: [...series, ...begun] };
}

function withEvaluation(metrics: JobMetrics, row: EvaluationView): JobMetrics {
  const others = metrics.evaluations.filter((old) => old.role !== row.role || old.step !== row.step);
  return { ...metrics, evaluations: [...others, row].sort((a, b) => a.step - b.step) };
}
