import type { CheckpointView } from "@/api/client";
import { formatCount } from "@/lib/format";

const BLACK_BOXES = { onnx: "ONNX model", detections: "recorded detections" };

/** What a checkpoint is, in few words. */
export const describe = ({ kind, family, parameters }: CheckpointView) =>
  kind === "detector" ? `${family}, ${formatCount(parameters)}` : BLACK_BOXES[kind];
