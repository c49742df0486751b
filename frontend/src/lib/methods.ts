/** The distillation methods by name, in the words of the pages. */
import type { DistillConfig } from "@/api/client";
import { capitalize } from "@/lib/format";

export type Method = NonNullable<DistillConfig["methods"]>[number];
export type MethodKind = Method["kind"];

/** A method as the form offers it: its kind, and the field that chooses between its forms, if it has one. */
export interface MethodChoice {
  title: string;
  hint: string;
  field?: "variant" | "form";
  options?: Record<string, string>;
}

const VARIANTS = { recommended: "recommended", official: "released code", paper: "paper" };

/** Every kind of the API's description has its entry: the compiler counts them. */
const CHOICES: Record<MethodKind, MethodChoice> = {
  matched_logits: {
    title: "Matched logits",
    hint: "Class scores and boxes of Hungarian-matched queries, at every decoder layer.",
    field: "variant",
    options: VARIANTS,
  },
  target_features: {
    title: "Target-aware features",
    hint: "Feature maps where the teacher's good queries look.",
    field: "variant",
    options: VARIANTS,
  },
  query_prior: {
    title: "Query prior",
    hint: "The teacher's queries as an extra group, with the teacher's assignment of the ground truth.",
    field: "variant",
    options: VARIANTS,
  },
  distillation_points: {
    title: "Distillation points (KD-DETR)",
    hint: "Teacher and student answer the same queries; no matching is needed.",
    field: "variant",
    options: { recommended: "recommended", paper: "paper" },
  },
  foreground_memory: {
    title: "Foreground memory (CLoCKDistill)",
    hint: "What the decoder attends to, inside and outside the ground truth apart.",
  },
  feature_maps: {
    title: "Whole feature maps",
    hint: "FitNet or MGD, to compare with.",
    field: "form",
    options: { fitnet: "FitNet", mgd: "MGD" },
  },
};

export const METHODS = Object.entries(CHOICES).map(([kind, choice]) => ({ kind: kind as MethodKind, ...choice }));

export const isMethodKind = (kind: unknown): kind is MethodKind => typeof kind === "string" && Object.hasOwn(CHOICES, kind);

/** A name of the API as a title: that of the method, or the name itself in words. */
export function titleOf(name: string): string {
  if (isMethodKind(name)) return CHOICES[name].title;
  return capitalize(name.replaceAll(/[._-]+/g, " ").trim());
}
