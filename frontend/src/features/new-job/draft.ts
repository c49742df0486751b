/** What the form holds, and the request it becomes. */
import type { Catalog, JobCreate } from "@/api/client";
import { type Json, merged, numberOf } from "@/features/new-job/json";
import {
  type MethodDrafts,
  type Offered,
  type Teachers,
  declaredTeachers,
  isOwnAverage,
  methodDrafts,
  toEntry,
  usualTeacher,
} from "@/features/new-job/teachers";
import { omit } from "@/lib/omit";
import { TEACHER } from "@/lib/teachers";

export type Config = JobCreate["config"];
export type Change = (change: Partial<Draft>) => void;
/** The server's error message for a field, by its JSON pointer. */
export type ProblemAt = (...pointers: string[]) => string | undefined;

/** Numbers are texts as they were typed; an empty one is left out of the request, so that the server's default holds. */
export interface Draft {
  kind: "train" | "distill";
  /** Fills what the form does not ask for; empty: the server's defaults. */
  recipe: string;
  /** What the fields of the recipe held before it was chosen, and the methods of the first teacher. */
  beforeRecipe: { fields: Partial<Draft>; methods: MethodDrafts | undefined } | null;
  name: string;
  datasetId: string;
  /** Checkpoints of the teachers by name. */
  teacherIds: Record<string, string>;
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
  teachers: Teachers;
  allowPartial: boolean;
  /** The configuration as it was last edited as JSON, but for the teachers: what the form does not show stays as it is there. */
  document: Json;
}

const BLANK = {
  kind: "distill",
  recipe: "",
  beforeRecipe: null,
  name: "",
  datasetId: "",
  teacherIds: {},
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
  allowPartial: false,
  document: {},
} satisfies Omit<Draft, "teachers">;

/** What the form holds at first. */
export const emptyDraft = (offered: Offered): Draft => ({ ...BLANK, teachers: { [TEACHER]: usualTeacher(offered) } });

/** What images undergo where nothing is said. */
export const AUGMENTATIONS = { flip: BLANK.flip, photometric: BLANK.photometric, crop: BLANK.crop };

export const recipeNamed = (name: string, { recipes }: Pick<Catalog, "recipes">) => recipes.find((recipe) => recipe.name === name);

/** The fields that a recipe may fill. */
export type AnyConfig = Partial<Extract<Config, { kind: "distill" }>>;

/** The fields of a recipe that the form shows, but for the methods. */
function fromRecipe({ config, needs_checkpoint: needsCheckpoint }: Catalog["recipes"][number]): Partial<Draft> {
  const { student, data, training } = config as AnyConfig;
  const set = <T,>(value: T | null | undefined, then: (value: T) => Partial<Draft>) => (value == null ? {} : then(value));
  const studentFrom = needsCheckpoint ? ("checkpoint" as const) : ("catalog" as const);
  return {
    ...set(student, ({ family, size }) => ({ studentFrom, family, size })),
    ...set(data?.image_size, (side) => ({ imageSize: String(side) })),
    flip: data?.horizontal_flip ?? AUGMENTATIONS.flip,
    photometric: data?.photometric ?? AUGMENTATIONS.photometric,
    crop: data?.crop ?? AUGMENTATIONS.crop,
    ...set(training?.epochs, (epochs) => ({ epochs: String(epochs) })),
    ...set(training?.batch_size, (size) => ({ batchSize: String(size) })),
    ...set(training?.lr, (lr) => ({ lr: String(lr) })),
  };
}

/** The draft with other methods of its first teacher, for which recipes are made. */
function withMethods(draft: Draft, methods: MethodDrafts | undefined): Draft {
  const [first] = Object.entries(draft.teachers);
  if (first === undefined || methods === undefined) return draft;
  return { ...draft, teachers: { ...draft.teachers, [first[0]]: { ...first[1], methods } } };
}

/** The draft with another recipe, or with none: then its fields hold again what they held before. */
export function withRecipe(draft: Draft, name: string, catalog: Pick<Catalog, "methods" | "recipes">): Draft {
  const before = { ...withMethods({ ...draft, ...draft.beforeRecipe?.fields }, draft.beforeRecipe?.methods), recipe: name };
  const recipe = recipeNamed(name, catalog);
  if (recipe === undefined) return { ...before, beforeRecipe: null };
  const values = fromRecipe(recipe);
  const fields = Object.fromEntries(Object.keys(values).map((key) => [key, before[key as keyof Draft]]));
  const { methods } = recipe.config as AnyConfig;
  const chosen = methods ? methodDrafts(methods, catalog.methods) : undefined;
  const beforeRecipe = { fields, methods: chosen && Object.values(before.teachers)[0]?.methods };
  return withMethods({ ...before, ...values, beforeRecipe }, chosen);
}

/** The configuration of a draft; what the form does not ask for is left to the document, the recipe, the server. */
export function toConfig(draft: Draft, offered: Offered): Config {
  const shared = omit(draft.document, ...OF_DISTILLATION);
  const student = draft.studentFrom === "catalog" ? { family: draft.family, size: draft.size } : null;
  const config = merged(
    { kind: draft.kind, recipe: undefined, student: undefined, ...shared },
    {
      kind: draft.kind,
      recipe: draft.recipe || undefined,
      student: student && merged(shared.student, student),
      data: merged(shared.data, {
        image_size: numberOf(draft.imageSize),
        horizontal_flip: draft.flip,
        photometric: draft.photometric,
        crop: draft.crop,
      }),
      training: merged(shared.training, {
        epochs: numberOf(draft.epochs),
        batch_size: numberOf(draft.batchSize),
        lr: numberOf(draft.lr),
        seed: numberOf(draft.seed),
      }),
    },
  );
  if (draft.kind === "train") return config as unknown as Config;
  const teachers = Object.entries(draft.teachers).map(([name, teacher]) => [name, toEntry(teacher, offered)]);
  return { ...config, teachers: Object.fromEntries(teachers), control: draft.control } as unknown as Config;
}

/** Fields that only a distillation has. */
export const OF_DISTILLATION = ["teachers", "teacher", "methods", "control"];

/** Names of the teachers of a configuration that need a checkpoint. */
export const checkpointTeachers = (config: Config): string[] =>
  config.kind === "distill"
    ? declaredTeachers(config as unknown as Json)
        .filter(({ entry }) => !isOwnAverage(entry))
        .map(({ name }) => name)
    : [];

export function toRequest(draft: Draft, config: Config): JobCreate {
  const ids = checkpointTeachers(config)
    .map((name) => [name, draft.teacherIds[name] ?? ""] as const)
    .filter(([, id]) => id !== "");
  return {
    name: draft.name,
    dataset_id: draft.datasetId,
    ...(ids.length > 0 ? { teacher_ids: Object.fromEntries(ids) } : {}),
    ...(draft.studentFrom === "checkpoint" ? { student_id: draft.studentId || null } : {}),
    ...(draft.allowPartial ? { allow_partial: true } : {}),
    config,
  };
}
