/** The curves of a job as groups of charts. Every curve finds a place, whatever its name. */
import type { JobDetail, JobMetrics } from "@/api/client";
import { titleOf } from "@/lib/methods";

export interface Group {
  key: string;
  title: string;
  /** Name of the curve, and of its chart. */
  terms: [name: string, label: string][];
}

const DETECTION: Record<string, string> = { detection: "Detection loss", proposal: "Proposals", denoising: "Denoising" };
const SINGLE: Record<string, string> = { total: "Total loss", lr: "Learning rate", grad_norm: "Gradient norm" };
/** The usual terms in the usual order; others follow. */
const TERMS = ["classification", "l1", "giou"];

/** Names of curves without a dot: a chart each. */
export const singles = (metrics: JobMetrics): [name: string, title: string][] =>
  names(metrics)
    .filter((name) => !name.includes("."))
    .sort(byOrder(Object.keys(SINGLE)))
    .map((name) => [name, SINGLE[name] ?? titleOf(name)]);

/** `<loss or method>.<term>`, and `<teacher>.<method>.<term>` of further teachers. */
export function groups(metrics: JobMetrics, config: JobDetail["config"]): Group[] {
  const distilled = config.kind === "distill" ? config : undefined;
  const teachers = Object.keys(distilled?.further_teachers ?? {});
  const found = new Map<string, string[]>();
  for (const name of names(metrics).filter((one) => one.includes("."))) {
    const parts = name.split(".");
    const key = parts.slice(0, teachers.includes(parts[0] ?? "") && parts.length > 2 ? 2 : 1).join(".");
    found.set(key, [...(found.get(key) ?? []), name]);
  }
  const order = [...Object.keys(DETECTION), ...(distilled?.methods ?? []).map(({ kind }) => kind)];
  return [...found.keys()]
    .sort((a, b) => Number(a.includes(".")) - Number(b.includes(".")) || byOrder(order)(a, b))
    .map((key) => ({
      key,
      title: titleOfGroup(key),
      terms: (found.get(key) ?? [])
        .sort(byOrder(TERMS.map((term) => `${key}.${term}`)))
        .map((name) => [name, name.slice(key.length + 1).replaceAll(/[._]/g, " ")]),
    }));
}

function titleOfGroup(key: string): string {
  const [teacher, method] = key.split(".");
  if (method !== undefined) return `Teacher ${teacher}: ${titleOf(method)}`;
  return DETECTION[key] ?? titleOf(key);
}

const names = (metrics: JobMetrics) => [...new Set(metrics.series.map(({ name }) => name))];

/** What is in the list first, in its order; the rest by name. */
function byOrder(order: string[]): (a: string, b: string) => number {
  const rank = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  return (a, b) => rank(a) - rank(b) || a.localeCompare(b);
}
