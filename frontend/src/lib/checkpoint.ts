import type { CheckpointView, DatasetView } from "@/api/client";
import { formatCount } from "@/lib/format";

const BLACK_BOXES = { onnx: "ONNX model", detections: "recorded detections" };
const UNCHECKED = { checking: "being checked", refused: "refused", ready: "" };

/** What a checkpoint is, in few words. */
export const describe = ({ state, kind, family, parameters }: CheckpointView) => {
  if (!kind) return UNCHECKED[state];
  return kind === "detector" ? `${family}, ${formatCount(parameters)}` : BLACK_BOXES[kind];
};

/** What a data set is, in few words. */
export const describeDataset = ({ state, splits, class_count: classes }: DatasetView) =>
  state === "ready" ? `${formatCount(splits.train?.images ?? 0)} images, ${classes} classes` : UNCHECKED[state];
