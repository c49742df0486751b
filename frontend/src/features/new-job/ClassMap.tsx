/** Which class of the dataset each class of a teacher is, where their names differ. */
import { useId } from "react";

import { Button } from "@/components/basics";
import type { ClassPair } from "@/features/new-job/teachers";

interface Props {
  /** What it is called among several. */
  teacher: string | null;
  pairs: ClassPair[];
  teachersClasses: string[];
  ourClasses: string[];
  onChange: (pairs: ClassPair[]) => void;
  problem?: string | undefined;
}

/** A class that is named twice: a map can hold it once only. */
export const namedTwice = (pairs: readonly ClassPair[]) =>
  pairs.map(([from]) => from).find((from, index, all) => from !== "" && all.indexOf(from) < index);

export function ClassMap({ teacher, pairs, teachersClasses, ourClasses, onChange, problem }: Props) {
  const id = useId();
  const twice = namedTwice(pairs);
  const set = (index: number, pair: ClassPair) => onChange(pairs.with(index, pair));
  const message = twice ? `"${twice}" is named twice.` : problem;
  return (
    <fieldset className="space-y-2">
      <legend className={pairs.length === 0 ? "sr-only" : "text-xs text-soft"}>
        Class names{teacher && ` of ${teacher}`}: the teacher's → the dataset's
      </legend>
      <datalist id={`${id}-theirs`}>{teachersClasses.map((name) => <option key={name} value={name} />)}</datalist>
      <datalist id={`${id}-ours`}>{ourClasses.map((name) => <option key={name} value={name} />)}</datalist>
      {pairs.map(([from, to], index) => (
        <div key={index} className="flex items-center gap-2">
          <ClassInput label={`teacher's class ${index + 1}`} list={`${id}-theirs`} value={from} onChange={(value) => set(index, [value, to])} />
          <span aria-hidden className="text-faint">→</span>
          <ClassInput label={`class of the dataset ${index + 1}`} list={`${id}-ours`} value={to} onChange={(value) => set(index, [from, value])} />
          <Button className="px-2 py-0.5" aria-label={`remove pair ${index + 1}`} onClick={() => onChange(pairs.toSpliced(index, 1))}>
            ×
          </Button>
        </div>
      ))}
      {message && <p role="alert" className="text-xs text-bad">{message}</p>}
      <Button className="px-2 py-0.5 text-xs" onClick={() => onChange([...pairs, ["", ""]])}>
        {pairs.length === 0 ? "Class names differ" : "Add a class"}
      </Button>
    </fieldset>
  );
}

function ClassInput({ label, list, value, onChange }: { label: string; list: string; value: string; onChange: (value: string) => void }) {
  return (
    <input
      aria-label={label}
      list={list}
      value={value}
      onChange={(event) => onChange(event.target.value)}
      className="w-full min-w-0 rounded-md border border-line bg-card px-2 py-1 text-sm"
    />
  );
}
