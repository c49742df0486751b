import { useState } from "react";

import type { CheckpointView, DatasetView } from "@/api/client";
import { useCheckpoints, useDatasets } from "@/api/queries";
import { Button, Card } from "@/components/basics";
import { SelectField } from "@/components/Field";
import { Uploader } from "@/components/Uploader";
import type { Draft } from "@/features/new-job/draft";
import type { Change, ProblemAt } from "@/features/new-job/NewJobPage";
import { describe, describeDataset } from "@/lib/checkpoint";

export function DataAndTeacher({ draft, change, problemAt }: { draft: Draft; change: Change; problemAt: ProblemAt }) {
  const datasets = (useDatasets().data?.data ?? []).filter(({ state }) => state !== "refused");
  const checkpoints = (useCheckpoints().data?.data ?? []).filter(({ state }) => state !== "refused");
  const [uploading, setUploading] = useState<"datasets" | "checkpoints" | null>(null);
  const distil = draft.kind === "distill";
  const offered = checkpoints.map((checkpoint) => (
    <option key={checkpoint.id} value={checkpoint.id}>
      {checkpoint.name} ({describe(checkpoint)})
    </option>
  ));
  return (
    <Card title={distil ? "Data and teacher" : "Data"}>
      <div className={`grid gap-4 ${distil ? "md:grid-cols-2" : ""}`}>
        <div className="space-y-2">
          <SelectField
            label="Data set"
            value={draft.datasetId}
            onChange={(event) => change({ datasetId: event.target.value })}
            problem={problemAt("/dataset_id")}
          >
            <option value="">choose…</option>
            {datasets.map((dataset) => (
              <option key={dataset.id} value={dataset.id}>
                {dataset.name} ({describeDataset(dataset)})
              </option>
            ))}
          </SelectField>
          <Button onClick={() => setUploading(uploading === "datasets" ? null : "datasets")}>Upload a data set</Button>
        </div>
        {distil && (
          <div className="space-y-2">
            <SelectField
              label="Teacher"
              value={draft.teacherId}
              onChange={(event) => change({ teacherId: event.target.value })}
              problem={problemAt("/teacher_id")}
            >
              <option value="">choose…</option>
              {offered}
            </SelectField>
            <SelectField
              label="Second teacher"
              value={draft.secondTeacherId}
              onChange={(event) => change({ secondTeacherId: event.target.value })}
              hint="Adds its matched logits, in the recommended variant."
              problem={problemAt("/further_teacher_ids/second")}
            >
              <option value="">none</option>
              {offered}
            </SelectField>
            <Button onClick={() => setUploading(uploading === "checkpoints" ? null : "checkpoints")}>Upload a checkpoint</Button>
          </div>
        )}
      </div>
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
