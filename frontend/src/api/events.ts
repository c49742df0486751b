/** The events of a job. The catalog lists them; the pages go by the fields that an event has, whatever its name. */
import type { EvaluationView, JobDetail, JobView, RunResult } from "./client";

export interface JobEvent {
  id: number;
  job: string;
  kind: string;
  at: string;
  data: EventData;
}

/** Fields of an event that the pages show or keep. */
export interface EventData {
  /** The job is in another state. */
  state?: JobView["state"];
  cancel_requested?: boolean;
  error?: { message?: string };
  /** The run is in another stage. */
  stage?: NonNullable<JobDetail["stage"]>;
  /** The detector that the event is about. */
  role?: EvaluationView["role"];
  /** Its name, if it is a teacher. */
  teacher?: string | null;
  step?: number;
  epoch?: number;
  /** How completely a checkpoint filled it. */
  loaded?: number;
  total?: number;
  missing?: string[];
  /** What it was found to be worth. */
  metrics?: Omit<EvaluationView, "role" | "teacher" | "step" | "epoch">;
  /** How its training goes; the curves of the catalog that have no terms stand beside the losses. */
  losses?: Record<string, number>;
  images_per_second?: number;
  progress?: number;
  eta_seconds?: number;
  /** A resumable state, by its file. */
  file?: string;
  /** The end of the run. */
  result?: RunResult;
  message?: string;
}
