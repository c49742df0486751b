/** What the teachers of a job are called on the pages. */
import { capitalize } from "@/lib/format";

/** The name of a single teacher that nobody has given another name. */
export const TEACHER = "teacher";

export const teacherName = (name: string) => (name === TEACHER ? name : `teacher ${name}`);

export const teacherTitle = (name: string) => capitalize(teacherName(name));

/** The one that needs no name first, the others by name: the service keeps no order. */
export const byTeacher = (a: string, b: string) => Number(b === TEACHER) - Number(a === TEACHER) || a.localeCompare(b);
