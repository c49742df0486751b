/** Follows the jobs of all tabs with one request: a browser gives an origin only six connections over HTTP/1.1. */
import { createParser } from "eventsource-parser";

import { without } from "@/lib/without";

export interface JobEvent {
  id: number;
  job: string;
  kind: string;
  at: string;
  data: Record<string, unknown>;
}

/** The jobs a tab wants to follow, each with the newest event it has. */
export type Wanted = Record<string, number>;

/** What a tab is told. `away`: the service does not answer; it is asked again and again. */
export type News =
  | { kind: "events"; events: JobEvent[] }
  | { kind: "state"; state: "live" | "away" }
  | { kind: "ended"; jobs: string[] };

interface Tab {
  wanted: Wanted;
  tell: (news: News) => void;
  seenAt: number;
}

/** The service refuses more in one request; so many tabs cannot be seen at once. */
const MOST_JOBS = 50;
/** The service says something at least every 15 s; a line that is silent for longer is dead. */
const SILENCE_MS = 40_000;
/** Tabs that want something say so this often, because one that crashes says nothing. */
export const SIGN_OF_LIFE_MS = 30_000;
const FORGOTTEN_MS = 4 * SIGN_OF_LIFE_MS;
const GATHER_MS = 20;

export const backoffMs = (failures: number) => Math.min(1000 * 2 ** failures, 15_000);

export class Hub {
  readonly #tabs = new Set<Tab>();
  #following = new AbortController();
  #gathering: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly request: typeof fetch = (...args) => fetch(...args),
    private readonly pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms)),
  ) {}

  /** Add a tab; what is given back takes the jobs it wants, which replace those it wanted before. */
  attach(tell: (news: News) => void): (wanted: Wanted) => void {
    const tab: Tab = { wanted: {}, tell, seenAt: Date.now() };
    return (wanted) => {
      this.#tabs.add(tab);
      tab.seenAt = Date.now();
      const before = Object.keys(tab.wanted);
      const same = before.length === Object.keys(wanted).length && before.every((job) => job in wanted);
      if (same) return;
      tab.wanted = { ...wanted };
      if (Object.keys(wanted).length === 0) this.#tabs.delete(tab);
      this.#restart();
    };
  }

  /** Drop the tabs that have not been heard of for long. */
  forgetSilentTabs(): void {
    const silent = [...this.#tabs].filter((tab) => Date.now() - tab.seenAt > FORGOTTEN_MS);
    for (const tab of silent) {
      tab.wanted = {};
      this.#tabs.delete(tab);
    }
    if (silent.length > 0) this.#restart();
  }

  #restart(): void {
    clearTimeout(this.#gathering); // several tabs that open or close together cost one request
    this.#gathering = setTimeout(() => {
      this.#following.abort();
      this.#following = new AbortController();
      void this.#follow(this.#following.signal);
    }, GATHER_MS);
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
        this.#tellAll({ kind: "state", state: "away" });
      }
      await this.pause(backoffMs(failures++));
    }
  }

  /** Where the reader that is furthest behind stands in each job. */
  #positions(): Map<string, number> {
    const positions = new Map<string, number>();
    for (const { wanted } of this.#tabs) {
      for (const [job, after] of Object.entries(wanted)) {
        positions.set(job, Math.min(after, positions.get(job) ?? after));
      }
    }
    return new Map([...positions].slice(-MOST_JOBS));
  }

  /** Read one answer to its end. False: there is nothing more to come. */
  async #read(positions: Map<string, number>, signal: AbortSignal, onSign: () => void): Promise<boolean> {
    const request = new AbortController();
    const abort = () => request.abort();
    signal.addEventListener("abort", abort);
    let silence = setTimeout(abort, SILENCE_MS);
    try {
      const response = await this.request(address(positions), { signal: request.signal, cache: "no-store" });
      if (response.status === 204) return false;
      if (!response.ok || response.body === null) throw new Error(`status ${response.status}`);
      this.#tellAll({ kind: "state", state: "live" });
      const jobs = [...positions.keys()];
      let batch: JobEvent[] = [];
      const parser = createParser({ onEvent: (event) => batch.push(parsed(event, jobs)) });
      const reader = response.body.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return true;
        onSign();
        clearTimeout(silence);
        silence = setTimeout(abort, SILENCE_MS);
        parser.feed(value);
        this.#deliver(batch);
        batch = [];
      }
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", abort);
    }
  }

  #deliver(batch: JobEvent[]): void {
    for (const { wanted, tell } of this.#tabs) {
      const events = batch.filter(({ job, id }) => id > (wanted[job] ?? Number.POSITIVE_INFINITY));
      for (const { job, id } of events) wanted[job] = id;
      if (events.length > 0) tell({ kind: "events", events });
    }
  }

  #end(jobs: string[]): void {
    for (const tab of [...this.#tabs]) {
      const ended = jobs.filter((job) => job in tab.wanted);
      tab.wanted = without(tab.wanted, ...ended);
      if (Object.keys(tab.wanted).length === 0) this.#tabs.delete(tab);
      if (ended.length > 0) tab.tell({ kind: "ended", jobs: ended });
    }
  }

  #tellAll(news: News): void {
    for (const { tell } of this.#tabs) tell(news);
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
  const { at, job_id: job, ...data } = JSON.parse(event.data) as { at: string; job_id: string } & Record<string, unknown>;
  const id = Number((event.id ?? "").split(",")[jobs.indexOf(job)]);
  return { id, job, kind: event.event ?? "message", at, data };
}
