/** Form fields with a label, a hint and the problem the server has with them. */
import { type ComponentProps, type ReactNode, useId } from "react";

const INPUT =
  "w-full scroll-mt-28 rounded-md border border-line bg-card px-2.5 py-1.5 text-sm placeholder:text-faint aria-invalid:border-bad disabled:opacity-50";

interface FieldProps {
  label: ReactNode;
  hint?: ReactNode;
  problem?: string | undefined;
}

/** The label names the control; hint and problem describe it. */
function Field({ label, hint, problem, id, children }: FieldProps & { id: string; children: ReactNode }) {
  return (
    <div>
      <label htmlFor={id} className="mb-1 block text-sm font-medium">
        {label}
      </label>
      {children}
      <div id={`${id}-about`} className="mt-1 text-xs empty:hidden">
        {hint && !problem && <span className="text-faint">{hint}</span>}
        {problem && (
          <span role="alert" className="text-bad">
            {problem}
          </span>
        )}
      </div>
    </div>
  );
}

export function TextField({ label, hint, problem, ...rest }: FieldProps & ComponentProps<"input">) {
  const id = useId();
  return (
    <Field label={label} hint={hint} problem={problem} id={id}>
      <input {...rest} id={id} aria-describedby={`${id}-about`} aria-invalid={problem !== undefined} className={INPUT} />
    </Field>
  );
}

export function SelectField({ label, hint, problem, children, ...rest }: FieldProps & ComponentProps<"select">) {
  const id = useId();
  return (
    <Field label={label} hint={hint} problem={problem} id={id}>
      <select {...rest} id={id} aria-describedby={`${id}-about`} aria-invalid={problem !== undefined} className={INPUT}>
        {children}
      </select>
    </Field>
  );
}

export function CheckField({ label, hint, ...rest }: { label: ReactNode; hint?: ReactNode } & ComponentProps<"input">) {
  return (
    <label className="flex items-start gap-2.5">
      <input type="checkbox" {...rest} className="mt-0.5 size-4 shrink-0 accent-teacher" />
      <span>
        <span className="text-sm font-medium">{label}</span>
        {hint && <span className="block text-xs text-faint">{hint}</span>}
      </span>
    </label>
  );
}

export function SegmentedControl<T extends string>({ name, value, options, onChange }: {
  name: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}) {
  return (
    <div role="radiogroup" aria-label={name} className="inline-flex rounded-md border border-line bg-tint p-0.5">
      {options.map(([option, label]) => (
        <button
          key={option}
          type="button"
          role="radio"
          aria-checked={option === value}
          onClick={() => onChange(option)}
          className={`cursor-pointer rounded px-3 py-1 text-sm ${option === value ? "bg-card font-medium shadow-sm" : "text-soft"}`}
        >
          {label}
        </button>
      ))}
    </div>
  );
}
