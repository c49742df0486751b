/** The hub as a shared worker: one for all tabs of this origin. */
import { Hub, SIGN_OF_LIFE_MS, type Wanted } from "./hub";

const hub = new Hub();
setInterval(() => hub.forgetSilentTabs(), SIGN_OF_LIFE_MS);

(globalThis as unknown as { onconnect: (event: MessageEvent) => void }).onconnect = ({ ports }) => {
  const [port] = ports;
  if (port === undefined) return;
  const want = hub.attach((news) => port.postMessage(news));
  port.onmessage = ({ data }: MessageEvent<Wanted>) => want(data);
};
