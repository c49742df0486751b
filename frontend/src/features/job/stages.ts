/** The stages of a job, in the order in which it goes through them. */
import type { JobDetail } from "@/api/client";

export type Stage = NonNullable<JobDetail["stage"]>;

interface StageText {
  title: string;
  /** What is being done in it, for the log. */
  activity: string;
}

/** Every stage of the API's description has its entry: the compiler counts them. */
export const STAGES: Record<Stage, StageText> = {
  prepare: { title: "Prepare", activity: "reading data and weights" },
  teacher_gate: { title: "Teacher gate", activity: "evaluating the teacher" },
  train_student: { title: "Train student", activity: "training the student" },
  train_control: { title: "Train control", activity: "training the control" },
  export: { title: "Export and verify", activity: "exporting and verifying" },
};

export const STAGE_NAMES = Object.keys(STAGES) as Stage[];

/** What a stage does; its name where a newer service has one that is not known here. */
export const activityOf = (stage: string): string => (Object.hasOwn(STAGES, stage) ? STAGES[stage as Stage].activity : stage);
