/** What the pages say of a job in more than one place. */
import type { JobDetail, JobView } from "@/api/client";

export const JOB_KINDS: Record<JobView["kind"], string> = { distill: "distillation", train: "training" };

/** The AP of the result, and the best so far while there is none. */
export const apOf = ({ ap, result }: Pick<JobView | JobDetail, "ap" | "result">, role: "student" | "control"): number | undefined =>
  result?.[role]?.metrics.ap ?? ap[role];
