import type { MethodView } from "@/api/client";
import { Card } from "@/components/basics";
import { CheckField, SelectField, TextField } from "@/components/Field";
import { type Change, type Draft, type MethodDraft, type Offered, type ProblemAt, toConfig } from "@/features/new-job/draft";
import type { MethodKind } from "@/lib/catalog";
import { FIELD_LABELS, type FieldPointer } from "@/lib/pointers";

interface Props {
  draft: Draft;
  offered: Offered;
  change: Change;
  problemAt: ProblemAt;
}

export function Recipe(props: Props) {
  return (
    <>
      {props.draft.kind === "distill" && <Methods {...props} />}
      <TrainingCard {...props} />
    </>
  );
}

function Methods({ draft, offered, change, problemAt }: Props) {
  const set = (kind: MethodKind, values: Partial<MethodDraft>) =>
    change({ methods: { ...draft.methods, [kind]: { ...draft.methods[kind], ...values } } });
  const config = toConfig(draft, offered);
  const sent = config.kind === "distill" ? (config.methods ?? []).map(({ kind }) => kind) : [];
  return (
    <Card title={FIELD_LABELS["/config/methods"]}>
      <ProblemLine problem={problemAt("/config/methods", "/config")} />
      <div className="divide-y divide-line">
        {offered.map((method) => (
          <MethodRow
            key={method.kind}
            method={method}
            draft={draft.methods[method.kind]}
            set={(values) => set(method.kind, values)}
            problemAt={(...fields) => problemAt(...fields.map((field) => `/config/methods/${sent.indexOf(method.kind)}${field}`))}
          />
        ))}
      </div>
      <div className="mt-4 grid gap-4 md:grid-cols-2">
        <CheckField
          label="Train a control"
          hint="The same student without distillation, to measure the KD gain. Doubles the training time."
          checked={draft.control}
          onChange={(event) => change({ control: event.target.checked })}
        />
        <TextField
          label={FIELD_LABELS["/config/teacher/min_ap"]}
          type="number"
          step="any"
          min="0"
          max="100"
          placeholder="default"
          value={draft.minAp}
          onChange={(event) => change({ minAp: event.target.value })}
          hint="0 to 100; 0 lets every teacher pass. Measured on your validation set before training; below it the job fails and says why."
          problem={problemAt("/config/teacher/min_ap")}
        />
      </div>
    </Card>
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

function TrainingCard({ draft, change, problemAt }: Props) {
  const number = (key: "epochs" | "batchSize" | "lr" | "imageSize" | "seed", pointer: FieldPointer, hint?: string) => (
    <TextField
      label={FIELD_LABELS[pointer]}
      type="number"
      step="any"
      value={draft[key]}
      onChange={(event) => change({ [key]: event.target.value })}
      placeholder={key === "imageSize" ? "auto" : draft.recipe ? "as the recipe has it" : "default"}
      hint={hint}
      problem={problemAt(pointer)}
    />
  );
  return (
    <Card title="Training">
      <div className="grid gap-4 sm:grid-cols-2 lg:grid-cols-5">
        {number("epochs", "/config/training/epochs")}
        {number("batchSize", "/config/training/batch_size")}
        {number("lr", "/config/training/lr")}
        {number("imageSize", "/config/data/image_size", "multiple of 32")}
        {number("seed", "/config/training/seed")}
      </div>
      <div className="mt-4 grid gap-3 md:grid-cols-3">
        <CheckField label="Mirror images" checked={draft.flip} onChange={(event) => change({ flip: event.target.checked })} />
        <CheckField label="Vary colours" checked={draft.photometric} onChange={(event) => change({ photometric: event.target.checked })} />
        <CheckField label="Random crops" checked={draft.crop} onChange={(event) => change({ crop: event.target.checked })} />
      </div>
    </Card>
  );
}
