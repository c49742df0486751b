import type { CheckpointView, DatasetView } from "@/api/client";
import { useCheckpoints, useDatasets } from "@/api/queries";
import { Card, Notice } from "@/components/basics";
import { Uploader } from "@/components/Uploader";
import { describe } from "@/lib/checkpoint";
import { formatAge, formatBytes, formatCount } from "@/lib/format";
import { useNow } from "@/lib/useNow";

/** What has been uploaded: data sets and checkpoints. */
export function LibraryPage() {
  const datasets = useDatasets();
  const checkpoints = useCheckpoints();
  const error = datasets.error ?? checkpoints.error;
  return (
    <div className="grid gap-5 lg:grid-cols-2">
      {error && <Notice tone="bad" title="The library could not be loaded">{error.message}</Notice>}
      <Card title="Data sets">
        <ul className="mb-4 divide-y divide-line">
          {datasets.data?.data.map((dataset) => <DatasetRow key={dataset.id} dataset={dataset} />)}
        </ul>
        <Uploader<DatasetView> kind="datasets" onDone={() => undefined} />
      </Card>
      <Card title="Checkpoints">
        <ul className="mb-4 divide-y divide-line">
          {checkpoints.data?.data.map((checkpoint) => <CheckpointRow key={checkpoint.id} checkpoint={checkpoint} />)}
        </ul>
        <Uploader<CheckpointView> kind="checkpoints" onDone={() => undefined} />
      </Card>
    </div>
  );
}

function DatasetRow({ dataset }: { dataset: DatasetView }) {
  const now = useNow(60_000);
  const { train, val } = dataset.splits;
  return (
    <li className="py-2.5">
      <p className="flex justify-between gap-4 font-medium">
        {dataset.name} <span className="text-xs font-normal text-faint">{formatAge(dataset.created_at, now)}</span>
      </p>
      <Unready row={dataset} />
      {dataset.state === "ready" && <p className="text-sm text-soft">
        {formatCount(train?.images ?? 0)} training and {formatCount(val?.images ?? 0)} validation images,{" "}
        {formatCount((train?.boxes ?? 0) + (val?.boxes ?? 0))} boxes, {formatBytes(dataset.size)}
      </p>}
      <Classes names={dataset.classes} count={dataset.class_count} />
      {dataset.warnings.map((warning) => (
        <p key={warning} className="mt-1 text-xs text-student">
          {warning}
        </p>
      ))}
    </li>
  );
}

function CheckpointRow({ checkpoint }: { checkpoint: CheckpointView }) {
  const now = useNow(60_000);
  const { image_height: height, image_width: width } = checkpoint;
  return (
    <li className="py-2.5">
      <p className="flex justify-between gap-4 font-medium">
        {checkpoint.name} <span className="text-xs font-normal text-faint">{formatAge(checkpoint.created_at, now)}</span>
      </p>
      <Unready row={checkpoint} />
      {checkpoint.state === "ready" && <p className="text-sm text-soft">
        {describe(checkpoint)}
        {checkpoint.kind === "detector" && ` parameters, ${checkpoint.queries} queries, ${checkpoint.decoder_layers} decoder layers`}
        {height && width ? `, ${width}×${height} px` : ""}
      </p>}
      <Classes names={checkpoint.classes} count={checkpoint.class_count} />
      {checkpoint.warnings.map((warning) => (
        <p key={warning} className="mt-1 text-xs text-student">
          {warning}
        </p>
      ))}
    </li>
  );
}

function Unready({ row: { state, error } }: { row: DatasetView | CheckpointView }) {
  if (state === "ready") return null;
  return <p className="text-sm text-soft">{state === "checking" ? "being checked…" : `refused: ${error?.message} ${error?.hint}`}</p>;
}

function Classes({ names, count }: { names: string[]; count: number }) {
  if (count === 0) return null;
  const shown = names.slice(0, 12).join(", ");
  return (
    <p className="text-xs text-faint" title={names.join(", ")}>
      {count} classes: {shown}
      {count > 12 && ", …"}
    </p>
  );
}
