/** What the form holds, and the request it becomes. */
import type { DistillConfig, JobCreate, TrainConfig } from "@/api/client";

export type Config = TrainConfig | DistillConfig;
type Method = NonNullable<DistillConfig["methods"]>[number];
export type MethodKind = Method["kind"];

/** A method as the form offers it: its kind, and the field that chooses between its forms, if it has one. */
export interface MethodChoice {
  kind: MethodKind;
  title: string;
  hint: string;
  field?: "variant" | "form";
  options?: Record<string, string>;
}

const VARIANTS = { recommended: "recommended", official: "released code", paper: "paper" };

export const METHODS: MethodChoice[] = [
  {
    kind: "matched_logits",
    title: "Matched logits",
    hint: "Class scores and boxes of Hungarian-matched queries, at every decoder layer.",
    field: "variant",
    options: VARIANTS,
  },
  {
    kind: "target_features",
    title: "Target-aware features",
    hint: "Feature maps where the teacher's good queries look.",
    field: "variant",
    options: VARIANTS,
  },
  {
    kind: "query_prior",
    title: "Query prior",
    hint: "The teacher's queries as an extra group, with the teacher's assignment of the ground truth.",
    field: "variant",
    options: VARIANTS,
  },
  {
    kind: "distillation_points",
    title: "Distillation points (KD-DETR)",
    hint: "Teacher and student answer the same queries; no matching is needed.",
    field: "variant",
    options: { recommended: "recommended", paper: "paper" },
  },
  {
    kind: "foreground_memory",
    title: "Foreground memory (CLoCKDistill)",
    hint: "What the decoder attends to, inside and outside the ground truth apart.",
  },
  {
    kind: "feature_maps",
    title: "Whole feature maps",
    hint: "FitNet or MGD, to compare with.",
    field: "form",
    options: { fitnet: "FitNet", mgd: "MGD" },
  },
];

export interface MethodDraft {
  on: boolean;
  choice: string;
  /** Empty: the default of the choice. */
  weight: string;
}

export interface Draft {
  kind: "train" | "distill";
  /** Fills what the form does not ask for; empty: the server's defaults. */
  recipe: string;
  name: string;
  datasetId: string;
  teacherId: string;
  /** Empty: one teacher. It teaches matched logits, which every kind of teacher can; more is to be had as JSON. */
  secondTeacherId: string;
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
  methods: Record<MethodKind, MethodDraft>;
}

const firstChoice = ({ options }: MethodChoice) => Object.keys(options ?? {})[0] ?? "";

function methodDrafts(chosen: readonly Method[]): Draft["methods"] {
  const entries = METHODS.map((offered) => {
    const method = chosen.find(({ kind }) => kind === offered.kind) as (Method & Record<string, unknown>) | undefined;
    const choice = offered.field && method?.[offered.field];
    return [
      offered.kind,
      {
        on: method !== undefined,
        choice: typeof choice === "string" ? choice : firstChoice(offered),
        weight: method?.weight === undefined ? "" : String(method.weight),
      },
    ];
  });
  return Object.fromEntries(entries) as Draft["methods"];
}

export const EMPTY: Draft = {
  kind: "distill",
  recipe: "",
  name: "",
  datasetId: "",
  teacherId: "",
  secondTeacherId: "",
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
  methods: methodDrafts([{ kind: "matched_logits" }, { kind: "target_features" }, { kind: "query_prior" }] as Method[]),
};

/** The fields of a recipe that the form shows. */
export function fromRecipe(name: string, recipe: Partial<DistillConfig>, needsCheckpoint: boolean): Partial<Draft> {
  const { student, data, training, methods } = recipe;
  const set = <T,>(value: T | null | undefined, then: (value: T) => Partial<Draft>) => (value == null ? {} : then(value));
  return {
    recipe: name,
    ...set(student, ({ family, size }) => ({ studentFrom: needsCheckpoint ? ("checkpoint" as const) : ("catalog" as const), family, size })),
    ...set(data?.image_size, (side) => ({ imageSize: String(side) })),
    flip: data?.horizontal_flip ?? EMPTY.flip,
    photometric: data?.photometric ?? EMPTY.photometric,
    crop: data?.crop ?? EMPTY.crop,
    ...set(training?.epochs, (epochs) => ({ epochs: String(epochs) })),
    ...set(training?.batch_size, (size) => ({ batchSize: String(size) })),
    ...set(training?.lr, (lr) => ({ lr: String(lr) })),
    ...set(methods, (chosen) => ({ methods: methodDrafts(chosen) })),
  };
}

const SECOND = "second";

const secondTeacher = (draft: Draft) => ({
  teacher: { min_ap: Number(draft.minAp) },
  methods: [{ kind: "matched_logits", variant: "recommended" }],
});

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
  const methods = METHODS.filter(({ kind }) => draft.methods[kind].on).map(({ kind, field }) => {
    const { choice, weight } = draft.methods[kind];
    return { kind, ...(field ? { [field]: choice } : {}), ...(weight === "" ? {} : { weight: Number(weight) }) };
  });
  return {
    kind: "distill",
    ...shared,
    teacher: { min_ap: Number(draft.minAp) },
    methods,
    ...(draft.secondTeacherId === "" ? {} : { further_teachers: { [SECOND]: secondTeacher(draft) } }),
    control: draft.control,
  } as DistillConfig;
}

export function toRequest(draft: Draft, config: Config): JobCreate {
  return {
    name: draft.name,
    dataset_id: draft.datasetId,
    ...(config.kind === "distill" ? { teacher_id: draft.teacherId || null } : {}),
    ...(config.kind === "distill" && draft.secondTeacherId !== ""
      ? { further_teacher_ids: { [SECOND]: draft.secondTeacherId } }
      : {}),
    ...(draft.studentFrom === "checkpoint" ? { student_id: draft.studentId || null } : {}),
    config,
  };
}
