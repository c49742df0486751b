import type { JobDetail } from "@/api/client";
import { isActive } from "@/api/queries";
import { STAGES, STAGE_NAMES } from "@/features/job/stages";

/** The stages this job goes through, and where it is. */
export function Timeline({ job }: { job: JobDetail }) {
  const distilled = job.config.kind === "distill";
  const withControl = job.config.kind === "distill" && job.config.control;
  const stages = STAGE_NAMES.filter(
    (name) => (name !== "teacher_gate" || distilled) && (name !== "train_control" || withControl),
  );
  const current = job.state === "succeeded" ? stages.length : stages.findIndex((name) => name === job.stage);
  return (
    <ol className="flex flex-wrap gap-x-2 gap-y-2 text-sm">
      {stages.map((name, index) => {
        const done = index < current;
        const here = index === current;
        const stopped = here && !isActive(job);
        const color = stopped ? "border-bad text-bad" : here ? "border-student text-student font-medium" : done ? "border-good text-good" : "border-line text-faint";
        return (
          <li key={name} className={`flex grow items-center gap-2 border-t-2 pt-1.5 ${color}`} aria-current={here ? "step" : undefined}>
            {done ? "✓" : here ? (stopped ? "✕" : "●") : "○"} {STAGES[name].title}
          </li>
        );
      })}
    </ol>
  );
}
