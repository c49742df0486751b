/** Follow a job, with the loss and the return of the service made visible. */
import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";

import type { EvaluationView, JobDetail, JobMetrics } from "./client";
import type { EventData, JobEvent } from "./events";
import { artifactsQuery, catalogQuery, healthQuery, invalidate, isActive, jobQuery, metricsQuery } from "./queries";
import { follow } from "./stream/follow";

export type LiveState = "live" | "reconnecting" | "ended";

export interface Live {
  state: LiveState;
  /** When the newest event came, in ms since 1970. */
  lastAt: number | null;
  /** The latest events but for those of training steps. */
  events: JobEvent[];
  /** Images per second. */
  speed: number | null;
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
    const unseen: JobEvent[] = []; // by the metrics, which are still on their way

    const flush = () => {
      if (pending.length === 0) return;
      const batch = pending.splice(0);
      const notable = batch.filter(({ data }) => data.losses === undefined);
      if (notable.length > 0) setEvents((before) => [...before, ...notable].slice(-KEPT));
      const speed = batch.findLast(({ data }) => data.images_per_second !== undefined)?.data.images_per_second;
      if (speed !== undefined) setSpeed(speed);
      applyToJob(cache, id, batch);
      unseen.push(...batch);
      if (cache.getQueryData(metricsQuery(id).queryKey) === undefined) return;
      applyToMetrics(cache, id, unseen.splice(0));
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

  const state = known && !active ? "ended" : disconnected ? "reconnecting" : "live";
  return { state, lastAt, events, speed };
}

type JobQuery = typeof jobQuery | typeof metricsQuery | typeof artifactsQuery;

/** What is read again after an event that has such a field. */
const REFRESHES: Partial<Record<keyof EventData, JobQuery[]>> = {
  state: [jobQuery, metricsQuery, artifactsQuery],
  stage: [metricsQuery], // a run that begins again repeats steps that are drawn already
  file: [artifactsQuery],
};

function applyToJob(cache: QueryClient, id: string, batch: JobEvent[]): void {
  const shown = cache.getQueryData(jobQuery(id).queryKey)?.last_event_id ?? 0;
  const fresh = batch.filter((event) => event.id > shown); // the page was loaded with the others
  const change = (values: (old: JobDetail) => Partial<JobDetail>) =>
    cache.setQueryData(jobQuery(id).queryKey, (old) => old && { ...old, ...values(old) });
  for (const { data } of fresh) {
    const { progress, eta_seconds, stage } = data;
    if (progress !== undefined) change(() => ({ progress, eta_seconds: eta_seconds ?? null }));
    if (stage !== undefined) change(() => ({ stage }));
    const row = evaluationOf(data);
    if (row) change((old) => ({ ap: { ...old.ap, [row.role]: Math.max(row.ap, old.ap[row.role] ?? -1) } }));
  }
  const stale = new Set(fresh.flatMap(({ data }) => (Object.keys(data) as (keyof EventData)[]).flatMap((field) => REFRESHES[field] ?? [])));
  invalidate(cache, ...[...stale].map((query) => query(id)));
}

function applyToMetrics(cache: QueryClient, id: string, batch: JobEvent[]): void {
  const single = (cache.getQueryData(catalogQuery.queryKey)?.curves ?? []).map(({ name }) => name);
  cache.setQueryData(metricsQuery(id).queryKey, (old) => old && batch.reduce((all, { data }) => withEvent(all, data, single), old));
}

/** The row of `evaluations` that an event is. */
function evaluationOf({ role, teacher, step, epoch, metrics }: EventData): EvaluationView | undefined {
  if (!metrics || !role || step === undefined || epoch === undefined) return undefined;
  return { ...metrics, role, teacher: teacher ?? "", step, epoch };
}

/** Metrics with one more event; an event that they have already changes nothing. `single`: names of curves without terms. */
export function withEvent(metrics: JobMetrics, data: EventData, single: readonly string[]): JobMetrics {
  const row = evaluationOf(data);
  if (row) return withEvaluation(metrics, row);
  return data.losses ? withStep(metrics, data, single) : metrics;
}

function withStep(metrics: JobMetrics, data: EventData, single: readonly string[]): JobMetrics {
  const { role, step, epoch, losses } = data;
  if (role === undefined || step === undefined || epoch === undefined) return metrics;
  const measured = Object.entries(data).filter(([name, value]) => single.includes(name) && typeof value === "number");
  const values = new Map<string, number>([...(measured as [string, number][]), ...Object.entries(losses ?? {})]);
  const series = metrics.series.map((curve) => {
    const value = curve.role === role ? values.get(curve.name) : undefined;
    if (value === undefined) return curve;
    values.delete(curve.name);
    if (step <= (curve.steps.at(-1) ?? -1)) return curve;
    return {
      ...curve,
      steps: [...curve.steps, step],
      epochs: [...curve.epochs, epoch],
      values: [...curve.values, value],
    };
  });
  const started = [...values].map(([name, value]) => ({ role, name, steps: [step], epochs: [epoch], values: [value] }));
  return { ...metrics, series: [...series, ...started] };
}

function withEvaluation(metrics: JobMetrics, row: EvaluationView): JobMetrics {
  const others = metrics.evaluations.filter((old) => old.role !== row.role || old.teacher !== row.teacher || old.step !== row.step);
  return { ...metrics, evaluations: [...others, row].sort((a, b) => a.step - b.step) };
}
