/** The curves of a job as groups of charts, in the order of the catalog. Every curve finds a place, whatever its name. */
import type { JobDetail, JobMetrics } from "@/api/client";
import { type Names, inWords, titleOf } from "@/lib/catalog";
import { byTeacher, teacherTitle } from "@/lib/teachers";

export interface Group {
  key: string;
  title: string;
  /** Name of the curve, and of its chart. */
  terms: [name: string, label: string][];
}

type Known = Pick<Names, "methods" | "curves">;

/** Names of curves without a dot: a chart each. */
export const singles = (metrics: JobMetrics, known: Known): [name: string, title: string][] =>
  namesIn(metrics)
    .filter((name) => !name.includes("."))
    .sort(byOrder(known.curves.map(({ name }) => name)))
    .map((name) => [name, titleOf(name, known)]);

/** `<loss or method>.<term>`, and `<teacher>.<method>.<term>` where there are several teachers. */
export function groups(metrics: JobMetrics, config: JobDetail["config"], known: Known): Group[] {
  const teachers = Object.keys((config.kind === "distill" ? config.teachers : null) ?? {}).sort(byTeacher);
  const losses = [...known.curves, ...known.methods.map(({ kind, terms }) => ({ name: kind as string, terms }))];
  const found = new Map<string, Parts[]>();
  for (const name of namesIn(metrics).filter((one) => one.includes("."))) {
    const parts = partsOf(name, teachers);
    found.set(parts.key, [...(found.get(parts.key) ?? []), parts]);
  }
  /** What no teacher teaches comes first, what nobody knows last. */
  const place = ({ teacher, loss }: Parts) =>
    teacher ? teachers.indexOf(teacher) : losses.some(({ name }) => name === loss) ? -1 : teachers.length;
  const byLoss = byOrder(losses.map(({ name }) => name));
  return [...found.values()]
    .flatMap(([first, ...rest]) => (first ? [{ ...first, curves: [first, ...rest] }] : []))
    .sort((a, b) => place(a) - place(b) || byLoss(a.loss, b.loss))
    .map(({ key, teacher, loss, curves }) => {
      const byTerm = byOrder(losses.find(({ name }) => name === loss)?.terms ?? []);
      const title = titleOf(loss, known);
      return {
        key,
        title: teacher ? `${teacherTitle(teacher)}: ${title}` : title,
        terms: curves.sort((a, b) => byTerm(a.term, b.term)).map(({ name, term }) => [name, inWords(term)]),
      };
    });
}

interface Parts {
  name: string;
  /** All but the term. */
  key: string;
  teacher: string | undefined;
  loss: string;
  term: string;
}

function partsOf(name: string, teachers: string[]): Parts {
  const [first = "", second = "", ...others] = name.split(".");
  if (teachers.length > 1 && teachers.includes(first) && others.length > 0) {
    return { name, key: `${first}.${second}`, teacher: first, loss: second, term: others.join(".") };
  }
  return { name, key: first, teacher: undefined, loss: first, term: [second, ...others].join(".") };
}

const namesIn = (metrics: JobMetrics) => [...new Set(metrics.series.map(({ name }) => name))];

/** What is in the list first, in its order; the rest by name. */
function byOrder(order: readonly string[]): (a: string, b: string) => number {
  const rank = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  return (a, b) => rank(a) - rank(b) || a.localeCompare(b);
}
