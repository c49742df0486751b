/** The hub as a shared worker: one for all tabs of this origin. */
import { HEARTBEAT_MS, Hub, type Subscriptions } from "./hub";

const hub = new Hub();
setInterval(() => hub.dropStaleTabs(), HEARTBEAT_MS);

(globalThis as unknown as { onconnect: (event: MessageEvent) => void }).onconnect = ({ ports }) => {
  const [port] = ports;
  if (port === undefined) return;
  const subscribe = hub.attach((message) => port.postMessage(message));
  port.onmessage = ({ data }: MessageEvent<Subscriptions>) => subscribe(data);
};
