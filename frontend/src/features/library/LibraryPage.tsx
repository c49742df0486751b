import { type ReactNode, useState } from "react";

import type { CheckpointView, DatasetView } from "@/api/client";
import { type PagedQuery, useCheckpoints, useDatasets } from "@/api/queries";
import { Button, Card, Loading, Notice, Warning } from "@/components/basics";
import { SearchBox, SearchStatus } from "@/components/SearchBox";
import { Uploader } from "@/components/Uploader";
import { Coverage, CheckState } from "@/features/library/CheckState";
import { describeCheckpoint } from "@/lib/describe";
import { formatAge, formatBytes, formatCount } from "@/lib/format";
import { useNow } from "@/lib/useNow";
import { useSearch } from "@/lib/useSearch";

/** What has been uploaded: datasets and checkpoints. */
export function LibraryPage() {
  return (
    <>
      <h1 className="mb-4 text-lg font-semibold">Library</h1>
      <div className="grid items-start gap-5 lg:grid-cols-2">
        <Card title="Datasets">
          <Uploader<DatasetView> kind="datasets" />
          <ResourceList name="datasets" query={useDatasets()} row={(dataset) => <DatasetRow key={dataset.id} dataset={dataset} />} />
        </Card>
        <Card title="Checkpoints">
          <Uploader<CheckpointView> kind="checkpoints" />
          <ResourceList
            name="checkpoints"
            query={useCheckpoints()}
            row={(checkpoint) => <CheckpointRow key={checkpoint.id} checkpoint={checkpoint} />}
          />
        </Card>
      </div>
    </>
  );
}

interface ResourceListProps<Row> {
  name: string;
  query: PagedQuery<Row>;
  row: (row: Row) => ReactNode;
}

/** How many rows are worth drawing at once. */
const DRAWN = 50;

function ResourceList<Row extends DatasetView | CheckpointView>({ name, query, row }: ResourceListProps<Row>) {
  const { text, setText, all, rows, searching } = useSearch(query);
  const [drawn, setDrawn] = useState(DRAWN);
  const more = () => {
    setDrawn(drawn + DRAWN);
    if (rows.length <= drawn + DRAWN && query.hasNextPage) void query.fetchNextPage();
  };
  if (query.error && all.length === 0) {
    return <div className="mt-4"><Notice tone="bad" title={`The ${name} could not be loaded`}>{query.error.message}</Notice></div>;
  }
  if (query.isPending) return <Loading />;
  return (
    <div className="mt-4">
      {(all.length > 5 || query.hasNextPage) && (
        <p className="flex items-center gap-3 text-xs text-faint">
          <SearchBox label={`Find ${name}`} text={text} onChange={setText} />
          <SearchStatus text={text} searching={searching} found={rows.length} />
        </p>
      )}
      {all.length === 0 && <p className="text-soft">None yet.</p>}
      <ul className="divide-y divide-line">{rows.slice(0, drawn).map(row)}</ul>
      {(rows.length > drawn || (query.hasNextPage && text === "")) && (
        <Button className="mt-3" disabled={query.isFetchingNextPage} onClick={more}>
          Older {name}
        </Button>
      )}
    </div>
  );
}

function RowHeader({ row }: { row: DatasetView | CheckpointView }) {
  const now = useNow(60_000);
  return (
    <>
      <p className="flex flex-wrap items-baseline justify-between gap-x-4">
        <span className="min-w-0 font-medium break-words">{row.name}</span>
        <span className="flex shrink-0 items-center gap-2 text-xs text-faint">
          <CheckState state={row.state} />
          {formatAge(row.created_at, now)}
        </span>
      </p>
      {row.error && (
        <p className="mt-1 text-sm text-bad">
          {row.error.message} <span className="text-soft">{row.error.hint}</span>
        </p>
      )}
    </>
  );
}

function DatasetRow({ dataset }: { dataset: DatasetView }) {
  const { train, val } = dataset.splits;
  return (
    <li className="py-2.5">
      <RowHeader row={dataset} />
      <p className="text-sm text-soft">
        {train || val
          ? `${formatCount(train?.images ?? 0)} training and ${formatCount(val?.images ?? 0)} validation images, ` +
            `${formatCount((train?.boxes ?? 0) + (val?.boxes ?? 0))} boxes, `
          : ""}
        {formatBytes(dataset.size)}
      </p>
      {dataset.classes.length > 0 && <Classes names={dataset.classes} count={dataset.class_count ?? dataset.classes.length} />}
      {dataset.warnings.map((warning) => <Warning key={warning}>{warning}</Warning>)}
    </li>
  );
}

function CheckpointRow({ checkpoint }: { checkpoint: CheckpointView }) {
  const { image_height: height, image_width: width, classes, class_count: count } = checkpoint;
  return (
    <li className="py-2.5">
      <RowHeader row={checkpoint} />
      <p className="text-sm text-soft">
        {checkpoint.kind !== null && describeCheckpoint(checkpoint)}
        {checkpoint.queries !== null && ` parameters, ${checkpoint.queries} queries, ${checkpoint.decoder_layers} decoder layers`}
        {height && width ? `, ${width}×${height} px` : ""}
      </p>
      {classes.length > 0 && <Classes names={classes} count={count ?? classes.length} />}
      <Coverage checkpoint={checkpoint} />
      {checkpoint.warnings?.map((warning) => <Warning key={warning}>{warning}</Warning>)}
    </li>
  );
}

function Classes({ names, count }: { names: string[]; count: number }) {
  const shown = names.slice(0, 12).join(", ");
  return (
    <p className="text-xs break-words text-faint" title={names.slice(0, 200).join(", ")}>
      {count === 1 ? "1 class" : `${formatCount(count)} classes`}: {shown}
      {count > 12 && ", …"}
    </p>
  );
}
