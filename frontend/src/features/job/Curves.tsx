import { useMemo } from "react";

import type { JobDetail, JobMetrics, Series } from "@/api/client";
import { useJobMetrics } from "@/api/queries";
import { Card } from "@/components/basics";
import { Chart, type Curve } from "@/components/Chart";

const COLORS = { teacher: "--color-teacher", student: "--color-student", control: "--color-control" };
const GROUPS: [prefix: string, title: string][] = [
  ["detection", "Detection loss"],
  ["matched_logits", "Matched logits"],
  ["target_features", "Target-aware features"],
  ["query_prior", "Query prior"],
  ["proposal", "Proposals"],
  ["denoising", "Denoising"],
];

/** The usual terms in the usual order; others follow. */
const TERMS = ["classification", "l1", "giou"];

const percent = (value: number) => (100 * value).toFixed(value < 0.1 ? 1 : 0);
const short = (value: number) => (value === 0 ? "0" : Math.abs(value) < 0.01 ? value.toExponential(0) : String(Number(value.toPrecision(3))));

export function Curves({ job }: { job: JobDetail }) {
  const metrics = useJobMetrics(job.id).data;
  const ap = useMemo(() => (metrics ? apCurves(metrics) : []), [metrics]);
  const total = useMemo(() => lossCurves(metrics, (curve) => curve.name === "total"), [metrics]);
  const lr = useMemo(() => lossCurves(metrics, (curve) => curve.name === "lr"), [metrics]);
  const further = job.config.kind === "distill" ? Object.keys(job.config.further_teachers ?? {}) : [];
  if (!metrics || metrics.series.length + metrics.evaluations.length === 0) return null;
  return (
    <div className="grid gap-5 lg:grid-cols-2 lg:[&>:last-child:nth-child(odd)]:col-span-2">
      {ap.length > 0 && (
        <Card title="AP on the validation set">
          <Chart curves={ap} xLabel="epoch" format={percent} fromZero={0.1} />
        </Card>
      )}
      {total.length > 0 && (
        <Card title="Total loss">
          <Chart curves={total} xLabel="epoch" format={short} />
        </Card>
      )}
      {GROUPS.map(([prefix, title]) => (
        <LossGroup key={prefix} metrics={metrics} prefix={prefix} title={title} />
      ))}
      {further.map((name) => (
        <LossGroup key={name} metrics={metrics} prefix={name} title={`Teacher ${name}`} />
      ))}
      {lr.length > 0 && (
        <Card title="Learning rate">
          <Chart curves={lr} xLabel="epoch" format={short} />
        </Card>
      )}
    </div>
  );
}

/** One small chart per term of a loss, the student beside the control. */
function LossGroup({ metrics, prefix, title }: { metrics: JobMetrics; prefix: string; title: string }) {
  const terms = useMemo(() => {
    const found = new Set(metrics.series.map((curve) => curve.name).filter((name) => name.startsWith(`${prefix}.`)));
    const usual = TERMS.map((term) => `${prefix}.${term}`).filter((name) => found.has(name));
    return [...new Set([...usual, ...found])].map(
      (name) => [name.slice(prefix.length + 1), lossCurves(metrics, (curve) => curve.name === name)] as const,
    );
  }, [metrics, prefix]);
  if (terms.length === 0) return null;
  return (
    <Card title={title} aside={<span className="text-xs text-faint">unweighted terms</span>}>
      <div className={`grid gap-x-4 gap-y-3 ${terms.length > 1 ? "sm:grid-cols-3" : ""}`}>
        {terms.map(([term, curves]) => (
          <figure key={term}>
            <figcaption className="mb-1 text-xs text-soft">{term.replaceAll(/[._]/g, " ")}</figcaption>
            <Chart curves={curves} xLabel="epoch" format={short} compact />
          </figure>
        ))}
      </div>
    </Card>
  );
}

function lossCurves(metrics: JobMetrics | undefined, wanted: (curve: Series) => boolean): Curve[] {
  return (metrics?.series ?? []).filter(wanted).map((curve) => ({
    label: curve.role,
    color: COLORS[curve.role],
    x: curve.epochs,
    y: curve.values,
  }));
}

function apCurves(metrics: JobMetrics): Curve[] {
  const curves: Curve[] = [];
  const last = Math.max(1, ...metrics.evaluations.map((row) => row.epoch));
  for (const role of ["student", "control"] as const) {
    const rows = metrics.evaluations.filter((row) => row.role === role);
    if (rows.length > 0) {
      curves.push({ label: role, color: COLORS[role], x: rows.map((row) => row.epoch), y: rows.map((row) => row.ap), points: true });
    }
  }
  const teacher = metrics.evaluations.find((row) => row.role === "teacher");
  if (teacher) curves.push({ label: "teacher", color: COLORS.teacher, x: [0, last], y: [teacher.ap, teacher.ap], dashed: true });
  return curves;
}
