import { type FormEvent, useEffect, useRef } from "react";

import type { Catalog } from "@/api/client";
import { useCatalog } from "@/api/queries";
import { Button, Card, Loading, Notice } from "@/components/basics";
import { SegmentedControl, TextField } from "@/components/Field";
import { namedTwice } from "@/features/new-job/ClassMap";
import { DataAndTeachers } from "@/features/new-job/DataAndTeachers";
import { Distillation } from "@/features/new-job/Distillation";
import { ErrorSummary } from "@/features/new-job/ErrorSummary";
import { keptFields } from "@/features/new-job/document";
import type { ProblemAt } from "@/features/new-job/draft";
import { RecipeField } from "@/features/new-job/RecipeField";
import { Student } from "@/features/new-job/Student";
import { Training } from "@/features/new-job/Training";
import { type Editor, useEditor } from "@/features/new-job/useEditor";
import { useSubmission } from "@/features/new-job/useSubmission";
import { FIELD_LABELS } from "@/lib/pointers";

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
  const editor = useEditor(catalog);
  const submission = useSubmission(editor);
  const page = useRef<HTMLDivElement>(null);
  const { draft, change, json, jsonError } = editor;
  const { problem, problemAt } = submission;

  useEffect(() => {
    if (problem) page.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [problem]);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (json === null && Object.values(draft.teachers).some(({ classMap }) => namedTwice(classMap))) return; // said at the field
    void submission.submit();
  };

  return (
    <div className="space-y-5" ref={page}>
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1 className="text-lg font-semibold">New job</h1>
        {json === null && <SegmentedControl name="kind" value={draft.kind} options={KINDS} onChange={(kind) => change({ kind })} />}
      </div>
      <DataAndTeachers
        draft={draft}
        change={change}
        problemAt={problemAt}
        config={editor.config}
        offered={catalog.methods}
        asJson={json !== null}
        partial={problem?.problem.code === "checkpoint_partial"}
      />
      <form onSubmit={submit} className="space-y-5" aria-label="new job">
        <Configuration editor={editor} catalog={catalog} problemAt={problemAt} />
        {jsonError && <Notice tone="bad" title={jsonError} />}
        {submission.error && !jsonError && (
          <ErrorSummary
            error={submission.error}
            fields={submission.open}
            applyClassMap={(teacher, map) => {
              editor.applyClassMap(teacher, map);
              submission.forget();
            }}
          />
        )}
        <Actions editor={editor} pending={submission.pending} />
      </form>
    </div>
  );
}

interface ConfigurationProps {
  editor: Editor;
  catalog: Catalog;
  problemAt: ProblemAt;
}

/** Name and recipe, and all that is in the configuration: as fields, or as JSON. */
function Configuration({ editor, catalog, problemAt }: ConfigurationProps) {
  const { draft, change, json, setJson } = editor;
  return (
    <>
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
          <RecipeField draft={draft} recipes={catalog.recipes} choose={editor.chooseRecipe} disabled={json !== null} problemAt={problemAt} />
        </div>
      </Card>
      {json === null ? (
        <>
          <Student draft={draft} families={catalog.families} change={change} problemAt={problemAt} />
          {draft.kind === "distill" && <Distillation draft={draft} offered={catalog.methods} change={change} problemAt={problemAt} />}
          <Training draft={draft} change={change} problemAt={problemAt} />
          <KeptFields pointers={keptFields(draft, catalog.methods)} drop={editor.dropKept} />
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
    </>
  );
}

function Actions({ editor: { draft, json, switchView }, pending }: { editor: Editor; pending: boolean }) {
  const noData = draft.datasetId === "";
  return (
    <div className="flex flex-wrap items-center gap-3">
      <Button type="submit" variant="primary" disabled={pending || noData}>
        {pending ? "Submitting…" : "Start job"}
      </Button>
      <Button onClick={switchView}>{json === null ? "Edit as JSON" : "Back to the form"}</Button>
      {noData && <span className="text-xs text-faint">Choose or upload a dataset first.</span>}
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
