/** Datasets and checkpoints in few words. */
import type { CheckpointView, DatasetView } from "@/api/client";
import { formatCount } from "@/lib/format";

/** The states of what was uploaded, as the pages call them; one that is ready needs no word. */
export const CHECKING = "being checked";
export const REFUSED = "refused";

const BLACK_BOXES = { onnx: "ONNX model", detections: "recorded detections" };

/** What a checkpoint is, in few words. */
export function describeCheckpoint({ kind, family, parameters, state }: CheckpointView): string {
  if (state === "checking" || kind === null) return CHECKING;
  return kind === "detector" ? [family, formatCount(parameters)].filter(Boolean).join(", ") : BLACK_BOXES[kind];
}

export const describeDataset = ({ splits, classes, class_count, state }: DatasetView) =>
  state === "checking"
    ? CHECKING
    : `${formatCount(splits.train?.images ?? 0)} images, ${formatCount(class_count ?? classes.length)} classes`;

/** How much of the detector a checkpoint fills, where that is not all of it. */
export function partialCoverage({ coverage }: Pick<CheckpointView, "coverage">): string | null {
  return coverage && coverage.loaded < coverage.total ? `${coverage.loaded} of ${coverage.total} tensors` : null;
}
