/** Follows the jobs of all tabs with one request: a browser gives an origin only six connections over HTTP/1.1. */
import { createParser } from "eventsource-parser";

import { omit } from "@/lib/omit";

import type { EventData, JobEvent } from "../events";

/** The jobs a tab subscribes to, each with the newest event it has. */
export type Subscriptions = Record<string, number>;

/** What the hub sends to a tab. `disconnected`: the service does not answer; it is asked again and again. */
export type HubMessage =
  | { kind: "events"; events: JobEvent[] }
  | { kind: "state"; state: "live" | "disconnected" }
  | { kind: "ended"; jobs: string[] };

interface Tab {
  subscriptions: Subscriptions;
  send: (message: HubMessage) => void;
  lastSeenAt: number;
}

/** The service refuses more in one request; so many tabs cannot be seen at once. */
const MAX_JOBS = 50;
/** The service says something at least every 15 s; a line that is silent for longer is dead. */
const IDLE_TIMEOUT_MS = 40_000;
/** Tabs repeat their subscriptions this often, because one that crashes does not end them. */
export const HEARTBEAT_MS = 30_000;
const TAB_TIMEOUT_MS = 4 * HEARTBEAT_MS;
const DEBOUNCE_MS = 20;

export const backoffMs = (failures: number) => Math.min(1000 * 2 ** failures, 15_000);

export class Hub {
  readonly #tabs = new Set<Tab>();
  #following = new AbortController();
  #restartTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly request: typeof fetch = (...args) => fetch(...args),
    private readonly pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms)),
  ) {}

  /** Add a tab; the function returned takes its subscriptions, which replace those it had before. */
  attach(send: (message: HubMessage) => void): (subscriptions: Subscriptions) => void {
    const tab: Tab = { subscriptions: {}, send, lastSeenAt: Date.now() };
    return (subscriptions) => {
      this.#tabs.add(tab);
      tab.lastSeenAt = Date.now();
      const before = Object.keys(tab.subscriptions);
      const same = before.length === Object.keys(subscriptions).length && before.every((job) => job in subscriptions);
      if (same) return;
      tab.subscriptions = { ...subscriptions };
      if (Object.keys(subscriptions).length === 0) this.#tabs.delete(tab);
      this.#restart();
    };
  }

  /** Drop the tabs that have sent nothing for long. */
  dropStaleTabs(): void {
    const stale = [...this.#tabs].filter((tab) => Date.now() - tab.lastSeenAt > TAB_TIMEOUT_MS);
    for (const tab of stale) {
      tab.subscriptions = {};
      this.#tabs.delete(tab);
    }
    if (stale.length > 0) this.#restart();
  }

  #restart(): void {
    clearTimeout(this.#restartTimer); // several tabs that open or close together cost one request
    this.#restartTimer = setTimeout(() => {
      this.#following.abort();
      this.#following = new AbortController();
      void this.#follow(this.#following.signal);
    }, DEBOUNCE_MS);
  }

  async #follow(signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      const positions = this.#positions();
      if (positions.size === 0) return;
      try {
        const wasLive = await this.#read(positions, signal, () => (failures = 0));
        if (!wasLive) return this.#end([...positions.keys()]);
      } catch {
        if (signal.aborted) return;
        this.#broadcast({ kind: "state", state: "disconnected" });
      }
      await this.pause(backoffMs(failures++));
    }
  }

  /** Where the reader that is furthest behind stands in each job. */
  #positions(): Map<string, number> {
    const positions = new Map<string, number>();
    for (const { subscriptions } of this.#tabs) {
      for (const [job, after] of Object.entries(subscriptions)) {
        positions.set(job, Math.min(after, positions.get(job) ?? after));
      }
    }
    return new Map([...positions].slice(-MAX_JOBS));
  }

  /** Read one answer to its end. False: there is nothing more to come. */
  async #read(positions: Map<string, number>, signal: AbortSignal, onData: () => void): Promise<boolean> {
    const request = new AbortController();
    const abort = () => request.abort();
    signal.addEventListener("abort", abort);
    let timeout = setTimeout(abort, IDLE_TIMEOUT_MS);
    try {
      const response = await this.request(address(positions), { signal: request.signal, cache: "no-store" });
      if (response.status === 204) return false;
      if (!response.ok || response.body === null) throw new Error(`status ${response.status}`);
      this.#broadcast({ kind: "state", state: "live" });
      const jobs = [...positions.keys()];
      let batch: JobEvent[] = [];
      const parser = createParser({ onEvent: (event) => batch.push(parsed(event, jobs)) });
      const reader = response.body.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return true;
        onData();
        clearTimeout(timeout);
        timeout = setTimeout(abort, IDLE_TIMEOUT_MS);
        parser.feed(value);
        this.#deliver(batch);
        batch = [];
      }
    } finally {
      clearTimeout(timeout);
      signal.removeEventListener("abort", abort);
    }
  }

  #deliver(batch: JobEvent[]): void {
    for (const { subscriptions, send } of this.#tabs) {
      const events = batch.filter(({ job, id }) => id > (subscriptions[job] ?? Number.POSITIVE_INFINITY));
      for (const { job, id } of events) subscriptions[job] = id;
      if (events.length > 0) send({ kind: "events", events });
    }
  }

  #end(jobs: string[]): void {
    for (const tab of [...this.#tabs]) {
      const ended = jobs.filter((job) => job in tab.subscriptions);
      tab.subscriptions = omit(tab.subscriptions, ...ended);
      if (Object.keys(tab.subscriptions).length === 0) this.#tabs.delete(tab);
      if (ended.length > 0) tab.send({ kind: "ended", jobs: ended });
    }
  }

  #broadcast(message: HubMessage): void {
    for (const { send } of this.#tabs) send(message);
  }
}

function address(positions: Map<string, number>): string {
  const query = new URLSearchParams();
  for (const [job, after] of positions) {
    query.append("job", job);
    query.append("after", String(after));
  }
  return `/events?${query}`;
}

/** The id of an event holds the newest id of each job, in the order in which they were asked for. */
function parsed(event: { id?: string | undefined; event?: string | undefined; data: string }, jobs: string[]): JobEvent {
  const { at, job_id: job, ...data } = JSON.parse(event.data) as { at: string; job_id: string } & EventData;
  const id = Number((event.id ?? "").split(",")[jobs.indexOf(job)]);
  return { id, job, kind: event.event ?? "message", at, data };
}
