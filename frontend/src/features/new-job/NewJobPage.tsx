import { type FormEvent, useState } from "react";
import { useNavigate } from "react-router";

import { ApiProblem } from "@/api/client";
import { useCreateJob } from "@/api/queries";
import { Button, Card, Notice } from "@/components/basics";
import { Choice, TextField } from "@/components/Field";
import { type Config, type Draft, EMPTY, toConfig, toRequest } from "@/features/new-job/draft";
import { DataAndTeacher } from "@/features/new-job/DataAndTeacher";
import { Recipe } from "@/features/new-job/Recipe";
import { RecipeField } from "@/features/new-job/RecipeField";
import { Student } from "@/features/new-job/Student";
import { randomKey } from "@/lib/randomKey";

export type Change = (change: Partial<Draft>) => void;
/** The server's complaint about a field, by its JSON pointer. */
export type ProblemAt = (...pointers: string[]) => string | undefined;

const KINDS = [
  ["distill", "Distil a teacher"],
  ["train", "Train or fine-tune"],
] as const;

export function NewJobPage() {
  const navigate = useNavigate();
  const create = useCreateJob();
  const [draft, setDraft] = useState(EMPTY);
  const [json, setJson] = useState<string | null>(null);
  const [jsonError, setJsonError] = useState<string | null>(null);
  const [key, setKey] = useState(() => randomKey()); // a double click makes one job

  const change: Change = (values) => setDraft((old) => ({ ...old, ...values }));
  const problem = create.error instanceof ApiProblem ? create.error : null;
  const problemAt: ProblemAt = (...pointers) => {
    const field = problem?.fields.find(({ pointer }) => pointers.includes(pointer));
    return field && (field.hint ? `${field.detail} ${field.hint}` : field.detail);
  };

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    let config: Config = toConfig(draft);
    if (json !== null) {
      try {
        config = JSON.parse(json) as Config;
        setJsonError(null);
      } catch (error) {
        setJsonError((error as Error).message);
        return;
      }
    }
    try {
      const job = await create.mutateAsync({ key, body: toRequest(draft, config) });
      await navigate(`/view/jobs/${job.id}`);
    } catch {
      setKey(randomKey()); // shown below; the corrected request is a new one
    }
  };

  return (
    <div className="space-y-5">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1 className="text-lg font-semibold">New job</h1>
        <Choice name="kind" value={draft.kind} options={KINDS} onChange={(kind) => change({ kind })} />
      </div>
      <DataAndTeacher draft={draft} change={change} problemAt={problemAt} />
      <form onSubmit={(event) => void submit(event)} className="space-y-5" aria-label="new job">
        <Card>
          <div className="grid gap-4 md:grid-cols-2">
          <TextField
            label="Name"
            value={draft.name}
            onChange={(event) => change({ name: event.target.value })}
            placeholder="r50 to r18 on road signs"
            required
            maxLength={200}
            problem={problemAt("/name")}
          />
          <RecipeField draft={draft} change={change} problemAt={problemAt} />
          </div>
        </Card>
        {json === null ? (
          <>
            <Student draft={draft} change={change} problemAt={problemAt} />
            <Recipe draft={draft} change={change} problemAt={problemAt} />
          </>
        ) : (
          <Card title="Configuration">
            <textarea
              aria-label="configuration as JSON"
              value={json}
              onChange={(event) => setJson(event.target.value)}
              spellCheck={false}
              rows={24}
              className="w-full rounded-md border border-line bg-card p-3 font-mono text-xs"
            />
            {jsonError && <p className="mt-1 text-xs text-bad">{jsonError}</p>}
          </Card>
        )}
        {create.error && <Complaints error={create.error} />}
        <div className="flex items-center gap-3">
          <Button type="submit" look="primary" disabled={create.isPending || draft.datasetId === ""}>
            {create.isPending ? "Submitting…" : "Start job"}
          </Button>
          <Button onClick={() => setJson(json === null ? JSON.stringify(toConfig(draft), null, 2) : null)}>
            {json === null ? "Edit as JSON" : "Back to the form"}
          </Button>
          {draft.datasetId === "" && <span className="text-xs text-faint">Choose or upload a data set first.</span>}
        </div>
      </form>
    </div>
  );
}

/** Everything the server has against the request; fields on the page also show their own. */
function Complaints({ error }: { error: Error }) {
  const fields = error instanceof ApiProblem ? error.fields : [];
  return (
    <Notice tone="bad" title={error.message}>
      <ul>
        {fields.map((field) => (
          <li key={field.pointer + field.detail}>
            <code>{field.pointer}</code> {field.detail !== error.message && field.detail} {field.hint}
          </li>
        ))}
      </ul>
    </Notice>
  );
}
