import { useState } from "react";

import type { CheckpointView, DatasetView } from "@/api/client";
import { rowsOf, useCheckpoints, useDatasets } from "@/api/queries";
import { Button, Card } from "@/components/basics";
import { CheckField } from "@/components/Field";
import { ResourceSelect } from "@/components/ResourceSelect";
import { Uploader } from "@/components/Uploader";
import { ClassMap } from "@/features/new-job/ClassMap";
import { type Change, type Config, type Draft, type Json, type Offered, type ProblemAt, SECOND, isObject, methodOfSecond } from "@/features/new-job/draft";
import { valueAt } from "@/features/new-job/document";
import { describeCheckpoint, describeDataset, partialCoverage } from "@/lib/describe";
import { omit } from "@/lib/omit";
import { FIELD_LABELS, labelOf } from "@/lib/pointers";

interface Props {
  draft: Draft;
  change: Change;
  problemAt: ProblemAt;
  /** The configuration as it would be sent; undefined while its JSON is broken. */
  config: Config | undefined;
  offered: Offered;
  /** The configuration is edited as JSON, class names too. */
  asJson: boolean;
  /** The service refused a checkpoint that fills only a part of its detector. */
  partial: boolean;
}

export function DataAndTeacher({ draft, change, problemAt, config, offered, asJson, partial }: Props) {
  const datasets = useDatasets();
  const checkpoints = useCheckpoints();
  const [uploading, setUploading] = useState<"datasets" | "checkpoints" | null>(null);
  const distil = (config?.kind ?? draft.kind) === "distill";
  const known = rowsOf(checkpoints);
  const ours = rowsOf(datasets).find(({ id }) => id === draft.datasetId)?.classes ?? [];
  const chosen = [draft.teacherId, ...Object.values(draft.furtherIds), draft.studentId].map((id) => known.find((row) => row.id === id));
  const taught = methodOfSecond(offered);
  const part = chosen.map((row) => row && partialCoverage(row)).find(Boolean);

  const classMap = (teacher: string, id: string) =>
    !asJson &&
    id !== "" && (
      <ClassMap
        teacher={teacher}
        pairs={draft.classMaps[teacher] ?? []}
        teachersClasses={known.find((row) => row.id === id)?.classes ?? []}
        ourClasses={ours}
        onChange={(pairs) => change({ classMaps: { ...draft.classMaps, [teacher]: pairs } })}
        problem={problemAt(`/config${teacher && `/further_teachers/${teacher}`}/teacher/class_map`)}
      />
    );

  const chooseFurther = (name: string, id: string) => {
    const others = omit(draft.furtherIds, name);
    change({
      furtherIds: id === "" ? others : { ...others, [name]: id },
      ...(id === "" && name === SECOND && !asJson ? { document: withoutFurther(draft.document, name) } : {}),
    });
  };

  return (
    <Card title={distil ? "Data and teacher" : "Data"}>
      <div className={`grid gap-4 ${distil ? "md:grid-cols-2" : ""}`}>
        <div className="min-w-0 space-y-2">
          <ResourceSelect
            label={FIELD_LABELS["/dataset_id"]}
            query={datasets}
            value={draft.datasetId}
            onChange={(datasetId) => change({ datasetId })}
            describe={describeDataset}
            empty="choose…"
            problem={problemAt("/dataset_id")}
          />
          <Button onClick={() => setUploading(uploading === "datasets" ? null : "datasets")}>Upload a dataset</Button>
        </div>
        {distil && (
          <div className="min-w-0 space-y-3">
            <ResourceSelect
              label={FIELD_LABELS["/teacher_id"]}
              query={checkpoints}
              value={draft.teacherId}
              onChange={(teacherId) => change({ teacherId })}
              describe={describeCheckpoint}
              empty="choose…"
              problem={problemAt("/teacher_id")}
            />
            {classMap("", draft.teacherId)}
            {furtherNames(config, asJson).map((name) => (
              <div key={name} className="space-y-2">
                <ResourceSelect
                  label={labelOf(`/further_teacher_ids/${name}`) ?? name}
                  query={checkpoints}
                  value={draft.furtherIds[name] ?? ""}
                  onChange={(id) => chooseFurther(name, id)}
                  describe={describeCheckpoint}
                  empty="none"
                  hint={name === SECOND && !asJson && taught ? `Adds one method: ${taught.title}.` : undefined}
                  problem={problemAt(`/further_teacher_ids/${name}`)}
                />
                {classMap(name, draft.furtherIds[name] ?? "")}
              </div>
            ))}
            <Button onClick={() => setUploading(uploading === "checkpoints" ? null : "checkpoints")}>Upload a checkpoint</Button>
          </div>
        )}
      </div>
      {(partial || draft.allowPartial) && (
        <div className="mt-4">
          <CheckField
            label={part ? `Use it although only ${part} fit` : "Use it although only a part of its tensors fits"}
            hint="The others begin with random values; such a detector has to be trained before it is of use."
            checked={draft.allowPartial}
            onChange={(event) => change({ allowPartial: event.target.checked })}
          />
        </div>
      )}
      <div className="mt-4 empty:hidden">
        {uploading === "datasets" && (
          <Uploader<DatasetView>
            kind="datasets"
            onDone={({ id }) => {
              change({ datasetId: id });
              setUploading(null);
            }}
          />
        )}
        {uploading === "checkpoints" && (
          <Uploader<CheckpointView>
            kind="checkpoints"
            onDone={({ id }) => {
              change({ teacherId: id });
              setUploading(null);
            }}
          />
        )}
      </div>
    </Card>
  );
}

/** Further teachers that need a checkpoint: those of the configuration, and the one the form can add. */
function furtherNames(config: Config | undefined, asJson: boolean): string[] {
  const further = config?.kind === "distill" && isObject(config.further_teachers) ? config.further_teachers : {};
  const named = Object.keys(further).filter((name) => valueAt(further, `/${name}/teacher/source`) !== "ema");
  return asJson || named.includes(SECOND) ? named : [...named, SECOND];
}

function withoutFurther(document: Json, name: string): Json {
  if (!isObject(document.further_teachers)) return document;
  return { ...document, further_teachers: omit(document.further_teachers, name) };
}
