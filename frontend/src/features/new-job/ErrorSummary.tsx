/** Everything the server has against the request; fields on the page also show their own. */
import { ApiProblem, type FieldProblem } from "@/api/client";
import { Button, Notice } from "@/components/basics";
import { isObject } from "@/features/new-job/json";
import { hintInWords, inLongForm, labelOf } from "@/lib/pointers";
import { TEACHER } from "@/lib/teachers";

interface Props {
  error: Error;
  /** Those that have not been answered by a change. */
  fields: FieldProblem[];
  applyClassMap: (teacher: string, map: Record<string, string>) => void;
}

export function ErrorSummary({ error, fields, applyClassMap }: Props) {
  const differ = error instanceof ApiProblem && error.problem.code === "class_names_differ";
  return (
    <Notice tone="bad" title={error.message}>
      <ul className="space-y-1">
        {fields.map((field) => (
          <li key={field.pointer + field.detail}>
            <FieldName pointer={field.pointer} /> {field.detail !== error.message && field.detail} {hintInWords(field.hint ?? "")}
            {differ && <Suggestion field={field} applyClassMap={applyClassMap} />}
          </li>
        ))}
      </ul>
    </Notice>
  );
}

function FieldName({ pointer }: { pointer: string }) {
  const label = labelOf(pointer);
  return label ? <strong className="font-medium">{label}:</strong> : <code>{pointer}</code>;
}

function Suggestion({ field, applyClassMap }: { field: FieldProblem; applyClassMap: Props["applyClassMap"] }) {
  const map = classMapIn(field.hint ?? "");
  if (map === null) return null;
  return (
    <div className="mt-2">
      <Button onClick={() => applyClassMap(teacherOf(field.pointer), map)}>Take over these class names</Button>
    </div>
  );
}

/** The name of the teacher that a pointer is about. */
export const teacherOf = (pointer: string): string =>
  /^\/(?:teacher_ids|config\/teachers)\/([^/]+)/.exec(inLongForm(pointer))?.[1] ?? TEACHER;

/** The map of class names that a hint suggests in JSON; null where it has none. */
export function classMapIn(hint: string): Record<string, string> | null {
  const text = /\{.*\}/s.exec(hint)?.[0];
  if (text === undefined) return null;
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return null;
  }
  const map = isObject(found) && isObject(found.class_map) ? found.class_map : found;
  const fine = isObject(map) && Object.values(map).every((name) => typeof name === "string") && Object.keys(map).length > 0;
  return fine ? (map as Record<string, string>) : null;
}
