import type { ReactNode } from "react";

import type { JobDetail, JobMetrics } from "@/api/client";
import { useJobMetrics } from "@/api/queries";
import { ApLabel } from "@/components/basics";
import { formatAp, formatGain, formatPercent, gainColor } from "@/lib/format";
import { apOf } from "@/lib/jobs";
import { byTeacher, teacherTitle } from "@/lib/teachers";

/** The numbers the job is about. While it runs: the best so far. */
export function Scores({ job }: { job: JobDetail }) {
  const { result, config } = job;
  const teachers = teacherAps(job, useJobMetrics(job.id).data);
  const best = Math.max(0, ...teachers.map(({ ap }) => ap ?? 0));
  const student = apOf(job, "student");
  const gain = result?.verdict ? null : result?.kd_gain;
  const retained = !result?.verdict && best > 0 && student !== undefined ? formatPercent(student / best) : null;
  const withControl = config.kind === "distill" && config.control;
  const columns = COLUMNS[teachers.length + (withControl ? 3 : 1)] ?? "lg:grid-cols-6";
  return (
    <dl className={`grid grid-cols-2 gap-3 ${columns}`}>
      {teachers.map(({ name, ap }) => (
        <Score key={name} label={<ApLabel role="teacher" title={teacherTitle(name)} />} value={formatAp(ap)} />
      ))}
      <Score
        label={<><ApLabel role="student" />{result ? "" : ", best so far"}</>}
        value={formatAp(student)}
        note={retained && `${retained} of the ${teachers.length > 1 ? "best teacher" : "teacher"}`}
      />
      {withControl && (
        <>
          <Score label={<ApLabel role="control" />} value={formatAp(apOf(job, "control"))} note="same student, not distilled" />
          <Score
            label="KD gain"
            value={formatGain(gain)}
            note={result?.verdict ? "says nothing: see the verdict" : "student minus control"}
            className={gainColor(gain, result?.verdict)}
          />
        </>
      )}
    </dl>
  );
}

/** By how many scores there are. */
const COLUMNS: Record<number, string> = { 1: "lg:grid-cols-4", 2: "lg:grid-cols-4", 3: "lg:grid-cols-4", 4: "lg:grid-cols-4", 5: "lg:grid-cols-5" };

interface TeacherAp {
  name: string;
  ap: number | undefined;
}

/** Every teacher that is judged before it teaches, which is all but the student's own moving average. */
export function teacherAps({ config, result, ap }: Pick<JobDetail, "config" | "result" | "ap">, metrics: JobMetrics | undefined): TeacherAp[] {
  if (config.kind !== "distill") return [];
  const judged = Object.entries(config.teachers ?? {}).filter(([, { source }]) => source !== "ema");
  const names = judged.map(([name]) => name).sort(byTeacher);
  return names.map((name) => {
    const found = result?.teachers?.[name]?.metrics ?? metrics?.evaluations.find((row) => row.role === "teacher" && row.teacher === name);
    return { name, ap: found?.ap ?? (names.length === 1 ? ap.teacher : undefined) };
  });
}

function Score({ label, value, note, className = "" }: { label: ReactNode; value: string; note?: string | null; className?: string }) {
  return (
    <div className="rounded-lg border border-line bg-card px-4 py-3">
      <dt className="flex items-center gap-1.5 text-xs text-soft">{label}</dt>
      <dd className={`mt-1 text-3xl font-semibold tracking-tight ${className}`}>{value}</dd>
      {note && <dd className="text-xs text-faint">{note}</dd>}
    </div>
  );
}
