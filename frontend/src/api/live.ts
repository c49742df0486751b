/** Follow a job, with the loss and the return of the service made visible. */
import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";

import type { EvaluationView, JobDetail, JobMetrics } from "./client";
import { artifactsQuery, healthQuery, invalidate, isActive, jobQuery, metricsQuery } from "./queries";
import { follow } from "./stream/follow";
import type { JobEvent } from "./stream/hub";

export type { JobEvent };
export type LiveState = "live" | "reconnecting" | "ended";

export interface Live {
  state: LiveState;
  /** When the newest event came, in ms since 1970. */
  lastAt: number | null;
  /** The latest events but for steps. */
  events: JobEvent[];
  /** Images per second. */
  speed: number | null;
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

const KEPT = 1000;
const FLUSH_MS = 250;
const POLL_MS = 5000;

/** Keeps job, metrics and artifacts in the cache up to date while the job runs. */
export function useLiveJob(id: string, job: JobDetail | undefined): Live {
  const cache = useQueryClient();
  const [disconnected, setDisconnected] = useState(false);
  const [lastAt, setLastAt] = useState<number | null>(null);
  const [events, setEvents] = useState<JobEvent[]>([]);
  const [speed, setSpeed] = useState<number | null>(null);
  const position = useRef(0); // from the beginning: the log of the page is the job's log
  const known = job !== undefined;
  const active = known && isActive(job);

  useEffect(() => {
    if (!known) return;
    const pending: JobEvent[] = [];
    let unseen: JobEvent[] = []; // by the metrics, which are still on their way

    const flush = () => {
      if (pending.length === 0) return;
      const batch = pending.splice(0);
      const notable = batch.filter((event) => event.kind !== "step");
      if (notable.length > 0) setEvents((before) => [...before, ...notable].slice(-KEPT));
      const step = batch.findLast((event) => event.kind === "step");
      if (step) setSpeed((step.data as unknown as StepData).images_per_second);
      applyToJob(cache, id, batch);
      unseen = [...unseen, ...batch];
      if (cache.getQueryData(metricsQuery(id).queryKey) === undefined) return;
      const points = unseen;
      unseen = [];
      cache.setQueryData(metricsQuery(id).queryKey, (old) => old && points.reduce(withEvent, old));
    };

    const timer = setInterval(flush, FLUSH_MS);
    const leave = follow(id, position.current, (message) => {
      if (message.kind === "events") {
        pending.push(...message.events);
        position.current = message.events.at(-1)?.id ?? position.current;
        setLastAt(Date.now());
      } else if (message.kind === "ended") {
        flush();
        setDisconnected(false);
        invalidate(cache, jobQuery(id), metricsQuery(id), artifactsQuery(id));
      } else {
        setDisconnected(message.state === "disconnected");
        if (message.state === "disconnected") invalidate(cache, healthQuery);
      }
    });
    return () => {
      clearInterval(timer);
      leave();
      flush();
    };
  }, [cache, id, known, active]);

  useEffect(() => {
    if (!disconnected || !active) return;
    const timer = setInterval(() => invalidate(cache, jobQuery(id), metricsQuery(id)), POLL_MS);
    return () => clearInterval(timer);
  }, [cache, id, disconnected, active]);

  return { state: known && !active ? "ended" : disconnected ? "reconnecting" : "live", lastAt, events, speed };
}

type JobQuery = typeof jobQuery | typeof metricsQuery | typeof artifactsQuery;

/** What is read again after an event. */
const REFRESHES: Record<string, JobQuery[]> = {
  state: [jobQuery, metricsQuery, artifactsQuery],
  stage: [metricsQuery], // a run that begins again repeats steps that are drawn already
  requeued: [jobQuery, metricsQuery, artifactsQuery],
  artifacts: [artifactsQuery],
  checkpoint: [artifactsQuery],
};

function applyToJob(cache: QueryClient, id: string, batch: JobEvent[]): void {
  const shown = cache.getQueryData(jobQuery(id).queryKey)?.last_event_id ?? 0;
  const fresh = batch.filter((event) => event.id > shown); // the page was loaded with the others
  const change = (values: (old: JobDetail) => Partial<JobDetail>) =>
    cache.setQueryData(jobQuery(id).queryKey, (old) => old && { ...old, ...values(old) });
  for (const { kind, data } of fresh) {
    if (kind === "step") change(() => ({ progress: data.progress as number, eta_seconds: data.eta_seconds as number }));
    else if (kind === "stage") change(() => ({ stage: data.stage as JobDetail["stage"] }));
    else if (kind === "evaluated" && !data.teacher) {
      // further teachers have names, and their place in the log and the result
      const { role, ap } = evaluationOf(data);
      change((old) => ({ ap: { ...old.ap, [role]: Math.max(ap, old.ap[role] ?? -1) } }));
    }
  }
  const stale = new Set(fresh.flatMap(({ kind }) => REFRESHES[kind] ?? []));
  invalidate(cache, ...[...stale].map((query) => query(id)));
}

const evaluationOf = (data: Record<string, unknown>) => ({ ...(data.metrics as object), ...data }) as EvaluationView;

/** Metrics with one more event; an event that they have already changes nothing. */
function withEvent(metrics: JobMetrics, { kind, data }: JobEvent): JobMetrics {
  if (kind === "step") return withStep(metrics, data as unknown as StepData);
  return kind === "evaluated" && !data.teacher ? withEvaluation(metrics, evaluationOf(data)) : metrics;
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
  const started = [...values].map(([name, value]) => ({ role, name, steps: [step.step], epochs: [step.epoch], values: [value] }));
  return { ...metrics, series: [...series, ...started] };
}

function withEvaluation(metrics: JobMetrics, row: EvaluationView): JobMetrics {
  const others = metrics.evaluations.filter((old) => old.role !== row.role || old.step !== row.step);
  return { ...metrics, evaluations: [...others, row].sort((a, b) => a.step - b.step) };
}
