/** The curves of a job as groups of charts, in the order of the catalog. Every curve finds a place, whatever its name. */
import type { JobDetail, JobMetrics } from "@/api/client";
import { type Names, inWords, titleOf } from "@/lib/catalog";

export interface Group {
  key: string;
  title: string;
  /** Name of the curve, and of its chart. */
  terms: [name: string, label: string][];
}

type Known = Pick<Names, "methods" | "curves">;

/** Names of curves without a dot: a chart each. */
export const singles = (metrics: JobMetrics, known: Known): [name: string, title: string][] =>
  names(metrics)
    .filter((name) => !name.includes("."))
    .sort(byOrder(known.curves.map(({ name }) => name)))
    .map((name) => [name, titleOf(name, known)]);

/** `<loss or method>.<term>`, and `<teacher>.<method>.<term>` of further teachers. */
export function groups(metrics: JobMetrics, config: JobDetail["config"], known: Known): Group[] {
  const teachers = Object.keys((config.kind === "distill" ? config.further_teachers : null) ?? {});
  const found = new Map<string, string[]>();
  for (const name of names(metrics).filter((one) => one.includes("."))) {
    const parts = name.split(".");
    const key = parts.slice(0, teachers.includes(parts[0] ?? "") && parts.length > 2 ? 2 : 1).join(".");
    found.set(key, [...(found.get(key) ?? []), name]);
  }
  const order = [...known.curves, ...known.methods.map(({ kind, terms }) => ({ name: kind as string, terms }))];
  const termsOf = (key: string) => order.find(({ name }) => name === key.split(".").at(-1))?.terms ?? [];
  return [...found.keys()]
    .sort((a, b) => Number(a.includes(".")) - Number(b.includes(".")) || byOrder(order.map(({ name }) => name))(a, b))
    .map((key) => ({
      key,
      title: titleOfGroup(key, known),
      terms: (found.get(key) ?? [])
        .sort(byOrder(termsOf(key).map((term) => `${key}.${term}`)))
        .map((name) => [name, inWords(name.slice(key.length + 1))]),
    }));
}

function titleOfGroup(key: string, known: Known): string {
  const [name = "", method] = key.split(".");
  return method === undefined ? titleOf(name, known) : `Teacher ${name}: ${titleOf(method, known)}`;
}

const names = (metrics: JobMetrics) => [...new Set(metrics.series.map(({ name }) => name))];

/** What is in the list first, in its order; the rest by name. */
function byOrder(order: string[]): (a: string, b: string) => number {
  const rank = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  return (a, b) => rank(a) - rank(b) || a.localeCompare(b);
}
