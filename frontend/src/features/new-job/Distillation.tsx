import type { MethodView } from "@/api/client";
import { Button, Card } from "@/components/basics";
import { CheckField, SelectField, TextField } from "@/components/Field";
import type { Change, Draft, ProblemAt } from "@/features/new-job/draft";
import { type MethodDraft, type Offered, type TeacherDraft, isOwnAverage, toEntry } from "@/features/new-job/teachers";
import type { MethodKind } from "@/lib/catalog";
import { omit } from "@/lib/omit";
import { labelOf } from "@/lib/pointers";
import { teacherName, teacherTitle } from "@/lib/teachers";

interface Props {
  draft: Draft;
  offered: Offered;
  change: Change;
  problemAt: ProblemAt;
}

/** What is distilled from each teacher. */
export function Distillation({ draft, offered, change, problemAt }: Props) {
  const names = Object.keys(draft.teachers);
  const remove = (name: string) => change({ teachers: omit(draft.teachers, name) });
  return (
    <Card title="Distillation">
      <ProblemLine problem={problemAt("/config", "/config/teachers")} />
      <div className="space-y-6">
        {Object.entries(draft.teachers).map(([name, teacher]) => (
          <fieldset key={name} className="min-w-0">
            <legend className={names.length === 1 ? "sr-only" : "mb-3 flex items-center gap-3 text-sm font-semibold"}>
              {teacherTitle(name)}
              {isOwnAverage(teacher.entry) && <span className="font-normal text-soft">the student's own moving average</span>}
              {isOwnAverage(teacher.entry) && names.length > 1 && (
                <Button className="px-2 py-0.5 text-xs" aria-label={`Remove ${teacherName(name)}`} onClick={() => remove(name)}>
                  Remove
                </Button>
              )}
            </legend>
            <TeacherMethods
              name={name}
              teacher={teacher}
              offered={offered}
              set={(values) => change({ teachers: { ...draft.teachers, [name]: { ...teacher, ...values } } })}
              problemAt={problemAt}
            />
          </fieldset>
        ))}
        <CheckField
          label="Train a control"
          hint="The same student without distillation, to measure the KD gain. Doubles the training time."
          checked={draft.control}
          onChange={(event) => change({ control: event.target.checked })}
        />
      </div>
    </Card>
  );
}

interface TeacherMethodsProps {
  name: string;
  teacher: TeacherDraft;
  offered: Offered;
  set: (values: Partial<TeacherDraft>) => void;
  problemAt: ProblemAt;
}

function TeacherMethods({ name, teacher, offered, set, problemAt }: TeacherMethodsProps) {
  const at = `/config/teachers/${name}`;
  const sent = (toEntry(teacher, offered).methods as { kind: MethodKind }[]).map(({ kind }) => kind);
  return (
    <>
      <ProblemLine problem={problemAt(at, `${at}/methods`)} />
      <div className="divide-y divide-line">
        {offered.map((method) => (
          <MethodRow
            key={method.kind}
            method={method}
            draft={teacher.methods[method.kind]}
            set={(values) => set({ methods: { ...teacher.methods, [method.kind]: { ...teacher.methods[method.kind], ...values } } })}
            problemAt={(...fields) => problemAt(...fields.map((field) => `${at}/methods/${sent.indexOf(method.kind)}${field}`))}
          />
        ))}
      </div>
      {!isOwnAverage(teacher.entry) && (
        <div className="mt-3 grid gap-4 md:grid-cols-2">
          <TextField
            label={labelOf(`${at}/min_ap`)}
            type="number"
            step="any"
            min="0"
            max="100"
            placeholder="default"
            value={teacher.minAp}
            onChange={(event) => set({ minAp: event.target.value })}
            hint="0 to 100; 0 lets every teacher pass. Measured on your validation set before training; below it the job fails and says why."
            problem={problemAt(`${at}/min_ap`)}
          />
        </div>
      )}
    </>
  );
}

interface MethodRowProps {
  method: MethodView;
  draft: MethodDraft;
  set: (values: Partial<MethodDraft>) => void;
  /** By pointers below the method. */
  problemAt: ProblemAt;
}

function MethodRow({ method, draft, set, problemAt }: MethodRowProps) {
  const { title, summary, variants, variant_titles: titles, fields } = method;
  const others = fields.map(({ name }) => `/${name}`).filter((field) => field !== "/weight");
  const usual = fields.find(({ name }) => name === "weight");
  const weight = usual?.by_variant[draft.choice] ?? usual?.default;
  return (
    <div className="grid items-start gap-3 py-3 first:pt-0 md:grid-cols-[1fr_9rem_7rem]">
      <CheckField label={title} hint={summary} checked={draft.on} onChange={(event) => set({ on: event.target.checked })} />
      {variants.length > 0 ? (
        <SelectField
          label="Variant"
          value={draft.choice}
          disabled={!draft.on}
          onChange={(event) => set({ choice: event.target.value })}
          problem={draft.on ? problemAt("", ...others) : undefined}
        >
          {draft.choice === "" && <option value="">default</option>}
          {variants.map((name) => (
            <option key={name} value={name}>
              {titles[name] ?? name}
            </option>
          ))}
        </SelectField>
      ) : (
        <span />
      )}
      <TextField
        label="Weight"
        type="number"
        step="any"
        min="0"
        placeholder={typeof weight === "number" ? `default ${weight}` : "default"}
        value={draft.weight}
        disabled={!draft.on}
        onChange={(event) => set({ weight: event.target.value })}
        problem={draft.on ? problemAt("/weight") : undefined}
      />
    </div>
  );
}

function ProblemLine({ problem }: { problem: string | undefined }) {
  return problem ? <p role="alert" className="mb-3 text-xs text-bad">{problem}</p> : null;
}
