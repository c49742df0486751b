import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { Hub, type HubMessage, backoffMs } from "./hub";

/** A service that answers each request as the test says, and notes what it was asked. */
class Service {
  readonly asked: string[] = [];
  open: ReadableStreamDefaultController<Uint8Array> | undefined;
  status = 200;

  request = (async (input: RequestInfo | URL, init?: RequestInit) => {
    this.asked.push(decodeURIComponent(String(input)));
    if (this.status === 0) throw new TypeError("refused");
    if (this.status !== 200) return new Response(null, { status: this.status });
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (this.open = controller) });
    const controller = this.open;
    init?.signal?.addEventListener("abort", () => controller?.error(new Error("aborted")));
    return new Response(body);
  }) as typeof fetch;

  send(id: string, job: string, data: object = {}): void {
    const text = `id: ${id}\nevent: stage\ndata: ${JSON.stringify({ at: "now", job_id: job, ...data })}\n\n`;
    this.open?.enqueue(new TextEncoder().encode(text));
  }
}

let service: Service;
let hub: Hub;

beforeEach(() => {
  vi.useFakeTimers();
  service = new Service();
  hub = new Hub(service.request);
});
afterEach(() => void vi.useRealTimers());

const tab = () => {
  const received: HubMessage[] = [];
  const subscribe = hub.attach((message) => received.push(message));
  const ids = () => received.flatMap((message) => (message.kind === "events" ? message.events.map(({ id }) => id) : []));
  return { subscribe, received, ids };
};
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

it("tabs on different jobs share one request, and each receives its own events", async () => {
  const [a, b] = [tab(), tab()];
  a.subscribe({ A: 0 });
  b.subscribe({ B: 5 });
  await pass(50);
  expect(service.asked).toEqual(["/events?job=A&after=0&job=B&after=5"]);
  service.send("3,5", "A");
  service.send("3,9", "B");
  await pass(0);
  expect([a.ids(), b.ids()]).toEqual([[3], [9]]);
});

it("a second tab on a job gets what came before, the first nothing twice", async () => {
  const first = tab();
  first.subscribe({ A: 0 });
  await pass(50);
  service.send("3", "A");
  await pass(0);
  const second = tab();
  second.subscribe({ A: 0 });
  await pass(50);
  expect(service.asked.at(-1)).toBe("/events?job=A&after=0");
  service.send("3", "A");
  service.send("4", "A");
  await pass(0);
  expect([first.ids(), second.ids()]).toEqual([[3, 4], [3, 4]]);
});

it("a refused reconnect is a lost connection, not the end: it is tried again, later and later, from the last event on", async () => {
  const one = tab();
  one.subscribe({ A: 0 });
  await pass(50);
  service.send("3", "A");
  await pass(0);
  service.status = 503;
  service.open?.error(new Error("gone"));
  await pass(backoffMs(0) + backoffMs(1) + 10);
  expect(service.asked.slice(1)).toEqual(["/events?job=A&after=3", "/events?job=A&after=3"]);
  expect(one.received.at(-1)).toEqual({ kind: "state", state: "disconnected" });
  expect(one.received.some(({ kind }) => kind === "ended")).toBe(false);
  service.status = 200;
  await pass(backoffMs(2));
  expect(one.received.at(-1)).toEqual({ kind: "state", state: "live" });
});

it("a connection that is silent for longer than the service may be is lost", async () => {
  const one = tab();
  one.subscribe({ A: 0 });
  await pass(50);
  await pass(41_000);
  expect(one.received.map((message) => message.kind === "state" && message.state)).toContain("disconnected");
  await pass(2000);
  expect(service.asked).toHaveLength(2);
});

it("204 is the end, and only that", async () => {
  const one = tab();
  service.status = 204;
  one.subscribe({ A: 7 });
  await pass(60_000);
  expect(one.received).toEqual([{ kind: "ended", jobs: ["A"] }]);
  expect(service.asked).toHaveLength(1);
});

it("no subscription costs no connection; a tab that crashed is dropped", async () => {
  const [one, two] = [tab(), tab()];
  one.subscribe({ A: 0 });
  two.subscribe({ B: 0 });
  await pass(50);
  one.subscribe({});
  await pass(50);
  expect(service.asked.at(-1)).toBe("/events?job=B&after=0");
  const before = service.asked.length;
  await pass(130_000);
  hub.dropStaleTabs();
  const asked = service.asked.length;
  await pass(100_000);
  expect(service.asked.length - asked).toBe(0);
  expect(before).toBe(2);
});
