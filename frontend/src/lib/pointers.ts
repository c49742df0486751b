/** The words of the pages for the API's pointers and hints. */
import { TEACHER, teacherName, teacherTitle } from "@/lib/teachers";

/** What the fields of the form are called: there, and where the API speaks of them. */
export const FIELD_LABELS = {
  "/name": "Name",
  "/dataset_id": "Dataset",
  "/student_id": "Checkpoint to start from",
  "/config/recipe": "Recipe",
  "/config/student": "Student",
  "/config/student/family": "Family",
  "/config/student/size": "Size",
  "/config/training/epochs": "Epochs",
  "/config/training/batch_size": "Batch size",
  "/config/training/lr": "Learning rate",
  "/config/training/seed": "Seed",
  "/config/data/image_size": "Image size",
} as const;

export type FieldPointer = keyof typeof FIELD_LABELS;

/** Fields of a teacher: of one with a name, and of the one that needs none. */
const TEACHER_LABELS: Record<string, (teacher: string | null) => string> = {
  min_ap: (teacher) => (teacher ? `Lowest AP of ${teacher}` : "Lowest teacher AP"),
  class_map: (teacher) => (teacher ? `Class names of ${teacher}` : "Class names"),
  methods: (teacher) => (teacher ? `Distillation from ${teacher}` : "Distillation"),
};

/** What a pointer is called on the page; undefined where it is not on it. */
export function labelOf(pointer: string): string | undefined {
  if (Object.hasOwn(FIELD_LABELS, pointer)) return FIELD_LABELS[pointer as FieldPointer];
  const [, kind, name, field] = /^\/(teacher_ids|config\/teachers)\/([^/]+)(?:\/([^/]+))?$/.exec(inLongForm(pointer)) ?? [];
  if (name === undefined) return undefined;
  if (field === undefined) return kind === "teacher_ids" ? teacherTitle(name) : undefined;
  return TEACHER_LABELS[field]?.(name === TEACHER ? null : teacherName(name));
}

const SHORT_FORM: [short: RegExp, long: string][] = [
  [/^\/teacher_id$/, `/teacher_ids/${TEACHER}`],
  [/^\/config\/teacher(?=\/|$)/, `/config/teachers/${TEACHER}`],
  [/^\/config\/methods(?=\/|$)/, `/config/teachers/${TEACHER}/methods`],
];

/** A pointer into the short form of a request, which is for a single teacher, as one into the long form. */
export const inLongForm = (pointer: string) => SHORT_FORM.reduce((text, [short, long]) => text.replace(short, long), pointer);

const HINTS: [text: string, inWords: string][] = [
  ["Upload one with POST /checkpoints.", "Choose one, or upload one."],
  ["Upload one with POST /datasets.", "Choose one, or upload one."],
];

/** A hint of the API for a person at the page. */
export const hintInWords = (hint: string) => HINTS.reduce((text, [api, words]) => text.replace(api, words), hint);
