import type { ReactNode } from "react";

import type { JobDetail } from "@/api/client";
import { ApLabel } from "@/components/basics";
import { formatAp, formatGain, formatPercent, gainColor } from "@/lib/format";
import { apOf } from "@/lib/jobs";

/** The numbers the job is about. While it runs: the best so far. */
export function Scores({ job }: { job: JobDetail }) {
  const { result } = job;
  const teacher = apOf(job, "teacher");
  const student = apOf(job, "student");
  const control = apOf(job, "control");
  const gain = result?.verdict ? null : result?.kd_gain;
  const retained = !result?.verdict && teacher && student !== undefined ? `${formatPercent(student / teacher)} of the teacher` : null;
  const distilled = job.config.kind === "distill";
  return (
    <dl className="grid grid-cols-2 gap-3 lg:grid-cols-4">
      {distilled && <Score label={<ApLabel role="teacher" />} value={formatAp(teacher)} />}
      <Score
        label={<><ApLabel role="student" />{result ? "" : ", best so far"}</>}
        value={formatAp(student)}
        note={retained}
      />
      {job.config.kind === "distill" && job.config.control && (
        <>
          <Score label={<ApLabel role="control" />} value={formatAp(control)} note="same student, not distilled" />
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

function Score({ label, value, note, className = "" }: { label: ReactNode; value: string; note?: string | null; className?: string }) {
  return (
    <div className="rounded-lg border border-line bg-card px-4 py-3">
      <dt className="flex items-center gap-1.5 text-xs text-soft">{label}</dt>
      <dd className={`mt-1 text-3xl font-semibold tracking-tight ${className}`}>{value}</dd>
      {note && <dd className="text-xs text-faint">{note}</dd>}
    </div>
  );
}
