import type { JobDetail } from "@/api/client";
import { isActive } from "@/api/queries";
import { type Names, useNames } from "@/lib/catalog";
import type { Role } from "@/lib/roles";

/** The stages this job goes through, and where it is. */
export function Timeline({ job }: { job: JobDetail }) {
  const stages = stagesOf(job.config, useNames());
  const current = job.state === "succeeded" ? stages.length : stages.findIndex(({ name }) => name === job.stage);
  return (
    <ol className="flex flex-wrap gap-x-2 gap-y-2 text-sm">
      {stages.map(({ name, title }, index) => {
        const done = index < current;
        const here = index === current;
        const stopped = here && !isActive(job);
        const color = stopped ? "border-bad text-bad" : here ? "border-student text-student font-medium" : done ? "border-good text-good" : "border-line text-faint";
        return (
          <li key={name} className={`flex grow items-center gap-2 border-t-2 pt-1.5 ${color}`} aria-current={here ? "step" : undefined}>
            {done ? "✓" : here ? (stopped ? "✕" : "●") : "○"} {title}
          </li>
        );
      })}
    </ol>
  );
}

/** The stages of a run. One without a teacher or a control leaves theirs out: those that have the role in their names. */
export function stagesOf(config: JobDetail["config"], { stages }: Pick<Names, "stages">): Names["stages"] {
  const distilled = config.kind === "distill";
  const absent: Role[] = [...(distilled ? [] : ["teacher" as const]), ...(distilled && config.control ? [] : ["control" as const])];
  return stages.filter(({ name }) => !name.split("_").some((word) => absent.some((role) => role === word)));
}
