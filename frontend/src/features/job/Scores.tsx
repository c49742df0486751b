import type { ReactNode } from "react";

import type { JobDetail } from "@/api/client";
import { RoleDot } from "@/components/basics";
import { formatAp, formatGain, gainColor } from "@/lib/format";

/** The numbers the job is about. While it runs: the best so far. */
export function Scores({ job }: { job: JobDetail }) {
  const { result } = job;
  const teacher = result?.teacher?.metrics.ap ?? job.ap.teacher;
  const student = result?.student.metrics.ap ?? job.ap.student;
  const control = result?.control?.metrics.ap ?? job.ap.control;
  const gain = result?.kd_gain;
  const retained = !result?.verdict && teacher && student !== undefined ? `${Math.round((100 * student) / teacher)} % of the teacher` : null;
  const distilled = job.config.kind === "distill";
  return (
    <dl className="grid grid-cols-2 gap-3 lg:grid-cols-4">
      {distilled && <Score label={<><RoleDot role="teacher" /> Teacher AP</>} value={formatAp(teacher)} />}
      <Score
        label={<><RoleDot role="student" /> Student AP{result ? "" : ", best so far"}</>}
        value={formatAp(student)}
        note={retained}
      />
      {job.config.kind === "distill" && job.config.control && (
        <>
          <Score label={<><RoleDot role="control" /> Control AP</>} value={formatAp(control)} note="same student, not distilled" />
          <Score
            label="KD gain"
            value={gain === null || gain === undefined || result?.verdict ? "–" : formatGain(gain)}
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
