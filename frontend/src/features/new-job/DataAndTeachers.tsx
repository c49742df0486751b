import { useState } from "react";

import type { CheckpointView, DatasetView } from "@/api/client";
import { rowsOf, useCheckpoints, useDatasets } from "@/api/queries";
import { Button, Card } from "@/components/basics";
import { CheckField } from "@/components/Field";
import { ResourceSelect } from "@/components/ResourceSelect";
import { Uploader } from "@/components/Uploader";
import { type Change, type Config, type Draft, type ProblemAt, checkpointTeachers } from "@/features/new-job/draft";
import { TeacherField } from "@/features/new-job/TeacherField";
import { type Offered, addedTeacher, freeName } from "@/features/new-job/teachers";
import { describeDataset, partialCoverage } from "@/lib/describe";
import { FIELD_LABELS } from "@/lib/pointers";

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

type UploadKind = "datasets" | "checkpoints";

export function DataAndTeachers({ draft, change, problemAt, config, offered, asJson, partial }: Props) {
  const datasets = useDatasets();
  const [uploading, setUploading] = useState<UploadKind | null>(null);
  const distil = (config?.kind ?? draft.kind) === "distill";
  const toggle = (kind: UploadKind) => setUploading(uploading === kind ? null : kind);
  const teacherNames = config ? checkpointTeachers(config) : [];
  const spare = asJson ? undefined : freeName(draft.teachers);
  const add = (name: string) => change({ teachers: { ...draft.teachers, [name]: addedTeacher(draft.teachers, offered) } });
  return (
    <Card title={!distil ? "Data" : teacherNames.length > 1 ? "Data and teachers" : "Data and teacher"}>
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
          <Button onClick={() => toggle("datasets")}>Upload a dataset</Button>
        </div>
        {distil && (
          <div className="min-w-0 space-y-3">
            {teacherNames.map((name) => (
              <TeacherField key={name} name={name} draft={draft} change={change} problemAt={problemAt} asJson={asJson} />
            ))}
            <div className="flex flex-wrap gap-2">
              <Button onClick={() => toggle("checkpoints")}>Upload a checkpoint</Button>
              {spare && <Button onClick={() => add(spare)}>Add a teacher</Button>}
            </div>
          </div>
        )}
      </div>
      <PartialField draft={draft} change={change} refused={partial} />
      <div className="mt-4 empty:hidden">
        {uploading && <Upload kind={uploading} draft={draft} change={change} teacherNames={teacherNames} close={() => setUploading(null)} />}
      </div>
    </Card>
  );
}

function PartialField({ draft, change, refused }: { draft: Draft; change: Change; refused: boolean }) {
  const known = rowsOf(useCheckpoints());
  if (!refused && !draft.allowPartial) return null;
  const chosen = [...Object.values(draft.teacherIds), draft.studentId].map((id) => known.find((row) => row.id === id));
  const part = chosen.map((row) => row && partialCoverage(row)).find(Boolean);
  return (
    <div className="mt-4">
      <CheckField
        label={part ? `Use it although only ${part} fit` : "Use it although only a part of its tensors fits"}
        hint="The others begin with random values; such a detector has to be trained before it is of use."
        checked={draft.allowPartial}
        onChange={(event) => change({ allowPartial: event.target.checked })}
      />
    </div>
  );
}

interface UploadProps {
  kind: UploadKind;
  draft: Draft;
  change: Change;
  /** Teachers that need a checkpoint. */
  teacherNames: string[];
  close: () => void;
}

/** Uploads, and chooses what was uploaded: a checkpoint as that of the first teacher that has none. */
function Upload({ kind, draft, change, teacherNames, close }: UploadProps) {
  if (kind === "datasets") {
    const choose = ({ id }: DatasetView) => {
      change({ datasetId: id });
      close();
    };
    return <Uploader<DatasetView> key={kind} kind={kind} onDone={choose} />;
  }
  const choose = ({ id }: CheckpointView) => {
    const name = teacherNames.find((one) => !draft.teacherIds[one]) ?? teacherNames[0];
    if (name !== undefined) change({ teacherIds: { ...draft.teacherIds, [name]: id } });
    close();
  };
  return <Uploader<CheckpointView> key={kind} kind={kind} onDone={choose} />;
}
