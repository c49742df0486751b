/** This tab's side of the hub: what it follows while it can be seen. */
import { HEARTBEAT_MS, Hub, type HubMessage, type Subscriptions } from "./hub";

interface Subscription {
  position: number;
  ended: boolean;
  onMessage: (message: HubMessage) => void;
}

const followed = new Map<string, Subscription>();
let send: ((subscriptions: Subscriptions) => void) | undefined;

/** Follow a job from an event on, until the function that is given back is called. */
export function follow(job: string, after: number, onMessage: (message: HubMessage) => void): () => void {
  followed.set(job, { position: after, ended: false, onMessage });
  if (send === undefined) start();
  publish();
  return () => {
    followed.delete(job);
    publish();
  };
}

function publish(): void {
  const visible = document.visibilityState === "visible";
  const subscriptions = [...followed].filter(([, { ended }]) => visible && !ended);
  send?.(Object.fromEntries(subscriptions.map(([job, { position }]) => [job, position])));
}

function receive(message: HubMessage): void {
  for (const [job, entry] of followed) {
    if (message.kind === "state") entry.onMessage(message);
    else if (message.kind === "ended") {
      if (!message.jobs.includes(job)) continue;
      entry.ended = true;
      entry.onMessage(message);
    } else {
      const events = message.events.filter((event) => event.job === job && event.id > entry.position);
      const last = events.at(-1);
      if (last === undefined) continue;
      entry.position = last.id;
      entry.onMessage({ kind: "events", events });
    }
  }
}

function start(): void {
  send = sharedHub() ?? new Hub().attach(receive);
  document.addEventListener("visibilitychange", publish);
  setInterval(() => followed.size > 0 && publish(), HEARTBEAT_MS);
}

/** The hub of all tabs; undefined where the browser has no shared workers. */
function sharedHub(): ((subscriptions: Subscriptions) => void) | undefined {
  if (typeof SharedWorker === "undefined") return undefined;
  let worker: SharedWorker;
  try {
    worker = new SharedWorker(new URL("./worker.ts", import.meta.url), { type: "module", name: "detrdistill" });
  } catch {
    return undefined; // refused, as all storage is in some private windows
  }
  worker.onerror = () => {
    send = new Hub().attach(receive); // its script could not be loaded, as after an update of the service
    publish();
  };
  worker.port.onmessage = ({ data }: MessageEvent<HubMessage>) => receive(data);
  return (subscriptions) => worker.port.postMessage(subscriptions);
}
