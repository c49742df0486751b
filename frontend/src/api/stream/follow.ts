/** This tab's side of the hub: what it follows while it can be seen. */
import { Hub, type News, SIGN_OF_LIFE_MS, type Wanted } from "./hub";

interface Followed {
  position: number;
  ended: boolean;
  listen: (news: News) => void;
}

const followed = new Map<string, Followed>();
let send: ((wanted: Wanted) => void) | undefined;

/** Follow a job from an event on, until the function that is given back is called. */
export function follow(job: string, after: number, listen: (news: News) => void): () => void {
  followed.set(job, { position: after, ended: false, listen });
  if (send === undefined) start();
  say();
  return () => {
    followed.delete(job);
    say();
  };
}

function say(): void {
  const visible = document.visibilityState === "visible";
  const wanted = [...followed].filter(([, { ended }]) => visible && !ended);
  send?.(Object.fromEntries(wanted.map(([job, { position }]) => [job, position])));
}

function hear(news: News): void {
  for (const [job, entry] of followed) {
    if (news.kind === "state") entry.listen(news);
    else if (news.kind === "ended") {
      if (!news.jobs.includes(job)) continue;
      entry.ended = true;
      entry.listen(news);
    } else {
      const events = news.events.filter((event) => event.job === job && event.id > entry.position);
      const last = events.at(-1);
      if (last === undefined) continue;
      entry.position = last.id;
      entry.listen({ kind: "events", events });
    }
  }
}

function start(): void {
  send = shared() ?? new Hub().attach(hear);
  document.addEventListener("visibilitychange", say);
  setInterval(() => followed.size > 0 && say(), SIGN_OF_LIFE_MS);
}

/** The hub of all tabs; undefined where the browser has no shared workers. */
function shared(): ((wanted: Wanted) => void) | undefined {
  if (typeof SharedWorker === "undefined") return undefined;
  let worker: SharedWorker;
  try {
    worker = new SharedWorker(new URL("./worker.ts", import.meta.url), { type: "module", name: "detrdistill" });
  } catch {
    return undefined; // refused, as all storage is in some private windows
  }
  worker.onerror = () => {
    send = new Hub().attach(hear); // its script could not be loaded, as after an update of the service
    say();
  };
  worker.port.onmessage = ({ data }: MessageEvent<News>) => hear(data);
  return (wanted) => worker.port.postMessage(wanted);
}
