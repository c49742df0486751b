import { Card } from "@/components/basics";
import { CheckField, TextField } from "@/components/Field";
import type { Change, Draft, ProblemAt } from "@/features/new-job/draft";
import { FIELD_LABELS, type FieldPointer } from "@/lib/pointers";

interface Props {
  draft: Draft;
  change: Change;
  problemAt: ProblemAt;
}

export function Training({ draft, change, problemAt }: Props) {
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
