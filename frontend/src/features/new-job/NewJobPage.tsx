import { type FormEvent, useEffect, useRef, useState } from "react";
import { useNavigate } from "react-router";

import { ApiProblem, type Catalog, type JobCreate } from "@/api/client";
import { useCatalog, useCreateJob } from "@/api/queries";
import { Button, Card, Loading, Notice } from "@/components/basics";
import { SegmentedControl, TextField } from "@/components/Field";
import { namedTwice } from "@/features/new-job/ClassMap";
import { ErrorSummary } from "@/features/new-job/ErrorSummary";
import { DataAndTeacher } from "@/features/new-job/DataAndTeacher";
import { keptFields, parseDocument, valueAt, withClassMap, withDocument } from "@/features/new-job/document";
import { type Change, type Config, type ProblemAt, emptyDraft, toConfig, toRequest, withRecipe } from "@/features/new-job/draft";
import { Recipe } from "@/features/new-job/Recipe";
import { RecipeField } from "@/features/new-job/RecipeField";
import { Student } from "@/features/new-job/Student";
import { PATHS } from "@/lib/paths";
import { FIELD_LABELS, hintInWords } from "@/lib/pointers";
import { randomKey } from "@/lib/randomKey";

const KINDS = [
  ["distill", "Distil a teacher"],
  ["train", "Train or fine-tune"],
] as const;

export function NewJobPage() {
  const { data: catalog, error } = useCatalog();
  if (catalog) return <NewJob catalog={catalog} />;
  return error ? <Notice tone="bad" title="The catalog could not be loaded">{error.message}</Notice> : <Loading />;
}

function NewJob({ catalog }: { catalog: Catalog }) {
  const navigate = useNavigate();
  const create = useCreateJob();
  const [draft, setDraft] = useState(() => emptyDraft(catalog.methods));
  const [json, setJson] = useState<string | null>(null);
  const [jsonError, setJsonError] = useState<string | null>(null);
  const [sent, setSent] = useState<JobCreate | null>(null);
  const [key, setKey] = useState(() => randomKey()); // a double click makes one job
  const page = useRef<HTMLDivElement>(null);

  const change: Change = (values) => setDraft((old) => ({ ...old, ...values }));
  const config = json === null ? toConfig(draft, catalog.methods) : tryParse(json);
  const problem = create.error instanceof ApiProblem ? create.error : null;
  const request = config && toRequest(draft, config);
  const open = (problem?.fields ?? []).filter(({ pointer }) => unchanged(sent, request, pointer));
  const problemAt: ProblemAt = (...pointers) => {
    const field = open.find(({ pointer }) => pointers.includes(pointer));
    return field && (field.hint ? `${field.detail} ${hintInWords(field.hint)}` : field.detail);
  };
  const answered = problem !== null && problem.fields.length > 0 && open.length === 0;

  useEffect(() => {
    if (problem) page.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [problem]);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (json === null && Object.values(draft.classMaps).some(namedTwice)) return; // said at the field
    try {
      const chosen = json === null ? toConfig(draft, catalog.methods) : (parseDocument(json) as unknown as Config);
      const body = toRequest(draft, chosen);
      setJsonError(null);
      setSent(body);
      const job = await create.mutateAsync({ key, body });
      await navigate(PATHS.job(job.id));
    } catch (error) {
      if (!(error instanceof ApiProblem)) setJsonError((error as Error).message);
      setKey(randomKey()); // shown below; the corrected request is a new one
    }
  };

  const switchView = () => {
    setJsonError(null);
    if (json === null) return setJson(JSON.stringify(toConfig(draft, catalog.methods), null, 2));
    try {
      setDraft(withDocument(draft, json, catalog));
      setJson(null);
    } catch (error) {
      setJsonError(`The form cannot show this: ${(error as Error).message}`);
    }
  };

  const applyClassMap = (teacher: string, map: Record<string, string>) => {
    if (json === null) change({ classMaps: { ...draft.classMaps, [teacher]: Object.entries(map) } });
    else if (config) setJson(JSON.stringify(withClassMap(config, teacher, map), null, 2));
    create.reset();
  };

  return (
    <div className="space-y-5" ref={page}>
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1 className="text-lg font-semibold">New job</h1>
        {json === null && <SegmentedControl name="kind" value={draft.kind} options={KINDS} onChange={(kind) => change({ kind })} />}
      </div>
      <DataAndTeacher
        draft={draft}
        change={change}
        problemAt={problemAt}
        config={config}
        offered={catalog.methods}
        asJson={json !== null}
        partial={problem?.problem.code === "checkpoint_partial"}
      />
      <form onSubmit={(event) => void submit(event)} className="space-y-5" aria-label="new job">
        <Card>
          <div className="grid gap-4 md:grid-cols-2">
            <TextField
              label={FIELD_LABELS["/name"]}
              value={draft.name}
              onChange={(event) => change({ name: event.target.value })}
              placeholder="r50 to r18 on road signs"
              required
              maxLength={200}
              problem={problemAt("/name")}
            />
            <RecipeField
              draft={draft}
              recipes={catalog.recipes}
              choose={(name) => setDraft(withRecipe(draft, name, catalog))}
              disabled={json !== null}
              problemAt={problemAt}
            />
          </div>
        </Card>
        {json === null ? (
          <>
            <Student draft={draft} families={catalog.families} change={change} problemAt={problemAt} />
            <Recipe draft={draft} offered={catalog.methods} change={change} problemAt={problemAt} />
            <KeptFields pointers={keptFields(draft.document, draft.kind, catalog.methods)} drop={() => change({ document: {} })} />
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
          </Card>
        )}
        {jsonError && <Notice tone="bad" title={jsonError} />}
        {create.error && !answered && !jsonError && <ErrorSummary error={create.error} fields={open} applyClassMap={applyClassMap} />}
        <div className="flex flex-wrap items-center gap-3">
          <Button type="submit" variant="primary" disabled={create.isPending || draft.datasetId === ""}>
            {create.isPending ? "Submitting…" : "Start job"}
          </Button>
          <Button onClick={switchView}>{json === null ? "Edit as JSON" : "Back to the form"}</Button>
          {draft.datasetId === "" && <span className="text-xs text-faint">Choose or upload a dataset first.</span>}
        </div>
      </form>
    </div>
  );
}

/** What was written as JSON and is sent with the form. */
function KeptFields({ pointers, drop }: { pointers: string[]; drop: () => void }) {
  if (pointers.length === 0) return null;
  const names = pointers.map((pointer) => pointer.slice(1).replaceAll("/", "."));
  return (
    <Notice tone="soft" title="Fields outside this form are kept">
      <p>
        From the JSON: <code className="text-xs break-words">{names.join(", ")}</code>
      </p>
      <Button className="mt-2" onClick={drop}>
        Drop them
      </Button>
    </Notice>
  );
}

/** The configuration in a text; undefined while it cannot be parsed. */
function tryParse(json: string): Config | undefined {
  try {
    return parseDocument(json) as unknown as Config;
  } catch {
    return undefined;
  }
}

/** Whether a field still holds what was sent, so that the answer to it holds too. */
function unchanged(sent: JobCreate | null, request: JobCreate | undefined, pointer: string): boolean {
  return request !== undefined && JSON.stringify(valueAt(sent, pointer)) === JSON.stringify(valueAt(request, pointer));
}
