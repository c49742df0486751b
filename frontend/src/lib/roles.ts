/** The detectors of a job: what each is called and which colour it has, everywhere. */
import type { EvaluationView } from "@/api/client";

export type Role = EvaluationView["role"];

interface RoleStyle {
  title: string;
  /** Class of its dot. */
  background: string;
  /** Custom property of its curves. */
  color: string;
}

/** Every role of the API's description has its entry: the compiler counts them. */
export const ROLES: Record<Role, RoleStyle> = {
  teacher: { title: "Teacher", background: "bg-teacher", color: "--color-teacher" },
  student: { title: "Student", background: "bg-student", color: "--color-student" },
  control: { title: "Control", background: "bg-control", color: "--color-control" },
};
