import type { JobDetail } from "@/api/client";

const STAGES = [
  ["prepare", "Prepare"],
  ["teacher_gate", "Teacher gate"],
  ["train_student", "Train student"],
  ["train_control", "Train control"],
  ["export", "Export and verify"],
] as const;

/** The stages this job goes through, and where it is. */
export function Timeline({ job }: { job: JobDetail }) {
  const distilled = job.config.kind === "distill";
  const withControl = job.config.kind === "distill" && job.config.control;
  const stages = STAGES.filter(
    ([name]) => (name !== "teacher_gate" || distilled) && (name !== "train_control" || withControl),
  );
  const current = job.state === "succeeded" ? stages.length : stages.findIndex(([name]) => name === job.stage);
  return (
    <ol className="flex flex-wrap gap-x-2 gap-y-2 text-sm">
      {stages.map(([name, label], index) => {
        const done = index < current;
        const here = index === current;
        const stopped = here && job.state !== "running" && job.state !== "queued";
        const color = stopped ? "border-bad text-bad" : here ? "border-student text-student font-medium" : done ? "border-good text-good" : "border-line text-faint";
        return (
          <li key={name} className={`flex grow items-center gap-2 border-t-2 pt-1.5 ${color}`} aria-current={here ? "step" : undefined}>
            {done ? "✓" : here ? (stopped ? "✕" : "●") : "○"} {label}
          </li>
        );
      })}
    </ol>
  );
}
