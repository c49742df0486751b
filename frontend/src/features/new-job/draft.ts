/** What the form holds, and the request it becomes. */
import type { DistillConfig, JobCreate, TrainConfig } from "@/api/client";

export type Config = TrainConfig | DistillConfig;
export type MethodKind = "matched_logits" | "target_features" | "query_prior";
export type Variant = "official" | "paper";

export interface Draft {
  kind: "train" | "distill";
  /** Fills what the form does not ask for; empty: the server's defaults. */
  recipe: string;
  name: string;
  datasetId: string;
  teacherId: string;
  studentFrom: "catalog" | "checkpoint";
  family: string;
  size: string;
  studentId: string;
  epochs: string;
  batchSize: string;
  lr: string;
  imageSize: string;
  seed: string;
  flip: boolean;
  photometric: boolean;
  crop: boolean;
  control: boolean;
  minAp: string;
  methods: Record<MethodKind, { on: boolean; variant: Variant; weight: string }>;
}

export const METHODS: [kind: MethodKind, title: string, hint: string][] = [
  ["matched_logits", "Matched logits", "Class scores and boxes of Hungarian-matched queries, at every decoder layer."],
  ["target_features", "Target-aware features", "Feature maps where the teacher's good queries look."],
  ["query_prior", "Query prior", "The teacher's queries as an extra group, with the teacher's assignment of the ground truth."],
];

export const EMPTY: Draft = {
  kind: "distill",
  recipe: "",
  name: "",
  datasetId: "",
  teacherId: "",
  studentFrom: "catalog",
  family: "rt-detr-v2",
  size: "r18",
  studentId: "",
  epochs: "24",
  batchSize: "16",
  lr: "0.0002",
  imageSize: "",
  seed: "0",
  flip: true,
  photometric: true,
  crop: true,
  control: true,
  minAp: "0.1",
  methods: {
    matched_logits: { on: true, variant: "official", weight: "1" },
    target_features: { on: true, variant: "official", weight: "1" },
    query_prior: { on: true, variant: "paper", weight: "1" },
  },
};

/** The fields of a recipe that the form shows. */
export function fromRecipe(name: string, recipe: Partial<DistillConfig>): Partial<Draft> {
  const { student, data, training, methods } = recipe;
  const set = <T,>(value: T | null | undefined, then: (value: T) => Partial<Draft>) => (value == null ? {} : then(value));
  return {
    recipe: name,
    ...set(student, ({ family, size }) => ({ studentFrom: "catalog" as const, family, size })),
    ...set(data?.image_size, (side) => ({ imageSize: String(side) })),
    flip: data?.horizontal_flip ?? EMPTY.flip,
    photometric: data?.photometric ?? EMPTY.photometric,
    crop: data?.crop ?? EMPTY.crop,
    ...set(training?.epochs, (epochs) => ({ epochs: String(epochs) })),
    ...set(training?.batch_size, (size) => ({ batchSize: String(size) })),
    ...set(training?.lr, (lr) => ({ lr: String(lr) })),
    ...set(methods, (chosen) => ({ methods: methodsOf(chosen) })),
  };
}

function methodsOf(chosen: NonNullable<DistillConfig["methods"]>): Draft["methods"] {
  const entries = METHODS.map(([kind]) => {
    const method = chosen.find((each) => each.kind === kind);
    const variant = method?.variant ?? EMPTY.methods[kind].variant;
    return [kind, { on: method !== undefined, variant, weight: String(method?.weight ?? 1) }];
  });
  return Object.fromEntries(entries) as Draft["methods"];
}

/** The configuration of a draft; what the form does not ask for is left to the recipe or the server's defaults. */
export function toConfig(draft: Draft): Config {
  const shared = {
    ...(draft.recipe === "" ? {} : { recipe: draft.recipe }),
    student: draft.studentFrom === "catalog" ? { family: draft.family, size: draft.size } : null,
    data: {
      ...(draft.imageSize === "" ? {} : { image_size: Number(draft.imageSize) }),
      horizontal_flip: draft.flip,
      photometric: draft.photometric,
      crop: draft.crop,
    },
    training: {
      epochs: Number(draft.epochs),
      batch_size: Number(draft.batchSize),
      lr: Number(draft.lr),
      seed: Number(draft.seed),
    },
  };
  if (draft.kind === "train") return { kind: "train", ...shared } as TrainConfig;
  const methods = METHODS.filter(([kind]) => draft.methods[kind].on).map(([kind]) => ({
    kind,
    variant: draft.methods[kind].variant,
    weight: Number(draft.methods[kind].weight),
  }));
  return {
    kind: "distill",
    ...shared,
    teacher: { min_ap: Number(draft.minAp) },
    methods,
    control: draft.control,
  } as DistillConfig;
}

export function toRequest(draft: Draft, config: Config): JobCreate {
  return {
    name: draft.name,
    dataset_id: draft.datasetId,
    ...(config.kind === "distill" ? { teacher_id: draft.teacherId || null } : {}),
    ...(draft.studentFrom === "checkpoint" ? { student_id: draft.studentId || null } : {}),
    config,
  };
}
