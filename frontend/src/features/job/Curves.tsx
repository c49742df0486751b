import { useMemo } from "react";

import type { JobDetail, JobMetrics } from "@/api/client";
import { useJobMetrics } from "@/api/queries";
import { Card, Notice } from "@/components/basics";
import { Chart, type Curve } from "@/components/Chart";
import { type Group, groups, singles } from "@/features/job/terms";
import { useNames } from "@/lib/catalog";
import { formatAp } from "@/lib/format";
import { ROLES } from "@/lib/roles";
import { byTeacher, teacherName } from "@/lib/teachers";

/** At most two digits, so that neighbours on an axis differ and still fit. */
function short(value: number): string {
  if (value === 0) return "0";
  const rounded = Number(value.toPrecision(Math.abs(value) < 0.01 ? 2 : 3));
  return Math.abs(value) < 0.01 || Math.abs(value) >= 1e5 ? rounded.toExponential() : String(rounded);
}

export function Curves({ job }: { job: JobDetail }) {
  const query = useJobMetrics(job.id);
  const metrics = query.data;
  const known = useNames();
  const ap = useMemo(() => (metrics ? apCurves(metrics) : []), [metrics]);
  if (!metrics) return query.error ? <Notice tone="bad" title="The curves could not be loaded">{query.error.message}</Notice> : null;
  if (metrics.series.length + metrics.evaluations.length === 0) return null;
  const [total, ...others] = singles(metrics, known);
  return (
    <div className="grid gap-5 lg:grid-cols-2 lg:[&>:last-child:nth-child(odd)]:col-span-2">
      {ap.length > 0 && (
        <Card title="AP on the validation set">
          <Chart curves={ap} xLabel="epoch" format={formatAp} fromZero={0.1} />
        </Card>
      )}
      {total && <SingleChart key={total[0]} metrics={metrics} name={total[0]} title={total[1]} />}
      {groups(metrics, job.config, known).map((group) => (
        <GroupChart key={group.key} metrics={metrics} group={group} />
      ))}
      {others.map(([name, title]) => (
        <SingleChart key={name} metrics={metrics} name={name} title={title} />
      ))}
    </div>
  );
}

function SingleChart({ metrics, name, title }: { metrics: JobMetrics; name: string; title: string }) {
  const curves = useMemo(() => curvesOf(metrics, name), [metrics, name]);
  return (
    <Card title={title}>
      <Chart curves={curves} xLabel="epoch" format={short} />
    </Card>
  );
}

/** One small chart per term of a loss, the student beside the control. */
function GroupChart({ metrics, group: { title, terms } }: { metrics: JobMetrics; group: Group }) {
  return (
    <Card title={title} aside={<span className="text-xs text-faint">unweighted terms</span>}>
      <div className={`grid grid-cols-1 gap-x-4 gap-y-3 ${terms.length === 1 ? "" : terms.length === 2 ? "sm:grid-cols-2" : "sm:grid-cols-3"}`}>
        {terms.map(([name, label]) => (
          <TermChart key={name} metrics={metrics} name={name} label={label} />
        ))}
      </div>
    </Card>
  );
}

function TermChart({ metrics, name, label }: { metrics: JobMetrics; name: string; label: string }) {
  const curves = useMemo(() => curvesOf(metrics, name), [metrics, name]);
  return (
    <figure className="min-w-0" aria-label={name}>
      <figcaption className="mb-1 text-xs text-soft">{label}</figcaption>
      <Chart curves={curves} xLabel="epoch" format={short} compact />
    </figure>
  );
}

const curvesOf = (metrics: JobMetrics, name: string): Curve[] =>
  metrics.series
    .filter((curve) => curve.name === name)
    .map((curve) => ({ label: curve.role, color: ROLES[curve.role].color, x: curve.epochs, y: curve.values }));

function apCurves(metrics: JobMetrics): Curve[] {
  const curves: Curve[] = [];
  const last = Math.max(1, ...metrics.evaluations.map((row) => row.epoch));
  for (const role of ["student", "control"] as const) {
    const rows = metrics.evaluations.filter((row) => row.role === role);
    if (rows.length > 0) {
      curves.push({ label: role, color: ROLES[role].color, x: rows.map((row) => row.epoch), y: rows.map((row) => row.ap), points: true });
    }
  }
  const teachers = metrics.evaluations.filter((row) => row.role === "teacher").sort((a, b) => byTeacher(a.teacher, b.teacher));
  for (const [index, { teacher, ap }] of teachers.entries()) {
    const dash = DASHES[index % DASHES.length] ?? [];
    curves.push({ label: teacherName(teacher), color: ROLES.teacher.color, x: [0, last], y: [ap, ap], dash });
  }
  return curves;
}

/** The lines of the teachers, which do not learn: one of each kind before one comes again. */
const DASHES = [[5, 4], [2, 3], [10, 4], [10, 3, 2, 3]];
