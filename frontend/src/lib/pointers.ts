/** The words of the pages for the API's pointers and hints. */

/** What the fields of the form are called: there, and where the API speaks of them. */
export const FIELD_LABELS = {
  "/name": "Name",
  "/dataset_id": "Dataset",
  "/teacher_id": "Teacher",
  "/student_id": "Checkpoint to start from",
  "/further_teacher_ids/second": "Second teacher",
  "/config/recipe": "Recipe",
  "/config/student": "Student",
  "/config/student/family": "Family",
  "/config/student/size": "Size",
  "/config/training/epochs": "Epochs",
  "/config/training/batch_size": "Batch size",
  "/config/training/lr": "Learning rate",
  "/config/training/seed": "Seed",
  "/config/data/image_size": "Image size",
  "/config/teacher/min_ap": "Lowest teacher AP",
  "/config/teacher/class_map": "Class names",
  "/config/methods": "Distillation",
} as const;

export type FieldPointer = keyof typeof FIELD_LABELS;

/** What a pointer is called on the page; undefined where it is not on it. */
export function labelOf(pointer: string): string | undefined {
  if (Object.hasOwn(FIELD_LABELS, pointer)) return FIELD_LABELS[pointer as FieldPointer];
  const further = /^\/further_teacher_ids\/([^/]+)$/.exec(pointer)?.[1];
  return further && `Teacher ${further}`;
}

const HINTS: [text: string, inWords: string][] = [
  ["Upload one with POST /checkpoints.", "Choose one, or upload one."],
  ["Upload one with POST /datasets.", "Choose one, or upload one."],
];

/** A hint of the API for a person at the page. */
export const hintInWords = (hint: string) => HINTS.reduce((text, [api, words]) => text.replace(api, words), hint);
