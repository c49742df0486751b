/** What the form holds, and the request it becomes. */
import type { Catalog, DistillConfig, JobCreate, MethodView, TrainConfig } from "@/api/client";
import type { MethodKind } from "@/lib/catalog";
import { omit } from "@/lib/omit";

export type Config = TrainConfig | DistillConfig;
export type Json = Record<string, unknown>;
export type Change = (change: Partial<Draft>) => void;
/** The server's error message for a field, by its JSON pointer. */
export type ProblemAt = (...pointers: string[]) => string | undefined;
/** The methods of the catalog, which the form offers. */
export type Offered = readonly MethodView[];

export interface MethodDraft {
  on: boolean;
  /** Empty: what the server takes where nothing is said. */
  choice: string;
  /** Empty: the default of the choice. */
  weight: string;
}

/** A class of the teacher and the class of the dataset that it is. */
export type ClassPair = [teachers: string, ours: string];

/** Numbers are texts as they were typed; an empty one is left out of the request, so that the server's default holds. */
export interface Draft {
  kind: "train" | "distill";
  /** Fills what the form does not ask for; empty: the server's defaults. */
  recipe: string;
  /** What the fields of the recipe held before it was chosen. */
  beforeRecipe: Partial<Draft> | null;
  name: string;
  datasetId: string;
  teacherId: string;
  /** Checkpoints of further teachers by name. */
  furtherIds: Record<string, string>;
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
  /** 0 to 100, as every AP on the pages. */
  minAp: string;
  methods: Record<MethodKind, MethodDraft>;
  /** By the name of the teacher; the first has none. */
  classMaps: Record<string, ClassPair[]>;
  allowPartial: boolean;
  /** The configuration that was last edited as JSON: what the form does not show stays as it is there. */
  document: Json;
}

/** The further teacher that the form can add. It teaches what every kind of teacher can. */
export const SECOND = "second";

/** The method of the teacher that the form adds. */
export const methodOfSecond = (offered: Offered) =>
  offered.find(({ needs }) => needs.every((signal) => signal === "boxes and scores"));

/** What the form shows of a list of methods. `fallback`: the choice where a method names no variant. */
export function methodDrafts(chosen: readonly object[], offered: Offered, fallback?: string): Draft["methods"] {
  const entries = offered.map(({ kind, variant_field: field, default_variant: usual }) => {
    const method = chosen.find((one) => (one as Json).kind === kind) as Json | undefined;
    const choice = field && method?.[field];
    return [
      kind,
      {
        on: method !== undefined,
        choice: typeof choice === "string" ? choice : method && fallback !== undefined ? fallback : (usual ?? ""),
        weight: method?.weight === undefined ? "" : String(method.weight),
      },
    ];
  });
  return Object.fromEntries(entries) as Draft["methods"];
}

/** The methods of a job that names none. */
export const usualMethods = (offered: Offered): Json[] => offered.filter((method) => method.is_default).map(({ kind }) => ({ kind }));

const BLANK = {
  kind: "distill",
  recipe: "",
  beforeRecipe: null,
  name: "",
  datasetId: "",
  teacherId: "",
  furtherIds: {},
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
  minAp: "10",
  classMaps: {},
  allowPartial: false,
  document: {},
} satisfies Omit<Draft, "methods">;

/** What the form holds at first. */
export const emptyDraft = (offered: Offered): Draft => ({ ...BLANK, methods: methodDrafts(usualMethods(offered), offered) });

/** What images undergo where nothing is said. */
export const AUGMENTATIONS = { flip: BLANK.flip, photometric: BLANK.photometric, crop: BLANK.crop };

export const recipeNamed = (name: string, { recipes }: Pick<Catalog, "recipes">) => recipes.find((recipe) => recipe.name === name);

/** The fields of a recipe that the form shows. */
function fromRecipe({ config, needs_checkpoint: needsCheckpoint }: Catalog["recipes"][number], offered: Offered): Partial<Draft> {
  const { student, data, training, methods } = config as Partial<DistillConfig>;
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
    ...set(methods, (chosen) => ({ methods: methodDrafts(chosen, offered) })),
  };
}

/** The draft with another recipe, or with none: then its fields hold again what they held before. */
export function withRecipe(draft: Draft, name: string, catalog: Pick<Catalog, "methods" | "recipes">): Draft {
  const before = { ...draft, ...draft.beforeRecipe };
  const recipe = recipeNamed(name, catalog);
  if (recipe === undefined) return { ...before, recipe: name, beforeRecipe: null };
  const values = fromRecipe(recipe, catalog.methods);
  const kept = Object.fromEntries(Object.keys(values).map((key) => [key, before[key as keyof Draft]]));
  return { ...before, ...values, recipe: name, beforeRecipe: kept };
}

export const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/** An object with other values; one that is undefined takes the key away. */
function merged(base: unknown, values: Json): Json {
  const all = { ...(isObject(base) ? base : {}), ...values };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

const numberOf = (text: string) => (text.trim() === "" ? undefined : Number(text));

const fractionOf = (percent: string) => (percent.trim() === "" ? undefined : Number((Number(percent) / 100).toPrecision(12)));

function classMapOf(draft: Draft, teacher: string): Record<string, string> | undefined {
  const pairs = (draft.classMaps[teacher] ?? []).filter(([from, to]) => from !== "" || to !== "");
  return pairs.length === 0 ? undefined : Object.fromEntries(pairs);
}

/** An entry of `methods`; what `base` has beside the fields of the form stays. */
const methodIn = (base: Json, { kind, variant_field: field }: MethodView, choice: string, weight: string): Json =>
  merged(base, { kind, ...(field ? { [field]: choice || undefined } : {}), weight: numberOf(weight) });

function methodsOf(draft: Draft, offered: Offered): Json[] {
  const listed = Array.isArray(draft.document.methods) ? draft.document.methods.filter(isObject) : [];
  const shown = (base: Json, method: MethodView) => {
    const { choice, weight } = draft.methods[method.kind];
    return methodIn(base, method, choice, weight);
  };
  const kept = listed.flatMap((method) => {
    const known = offered.find(({ kind }) => kind === method.kind);
    if (known === undefined) return [method];
    return draft.methods[known.kind].on ? [shown(method, known)] : [];
  });
  const added = offered.filter(({ kind }) => draft.methods[kind].on && !listed.some((method) => method.kind === kind));
  return [...kept, ...added.map((method) => shown({}, method))];
}

function furtherTeachersOf(draft: Draft, offered: Offered): Json | undefined {
  const listed = isObject(draft.document.further_teachers) ? draft.document.further_teachers : {};
  const taught = methodOfSecond(offered);
  const second = { teacher: { min_ap: fractionOf(draft.minAp) }, methods: taught ? [methodIn({}, taught, taught.default_variant ?? "", "")] : [] };
  const all = draft.furtherIds[SECOND] && !(SECOND in listed) ? { ...listed, [SECOND]: second } : listed;
  const teachers = Object.entries(all).map(([name, entry]) => {
    const teacher = merged((entry as Json).teacher, { class_map: classMapOf(draft, name) });
    return [name, merged(entry, { teacher: Object.keys(teacher).length > 0 ? teacher : undefined })];
  });
  return teachers.length === 0 ? undefined : (Object.fromEntries(teachers) as Json);
}

/** The configuration of a draft; what the form does not ask for is left to the document, the recipe, the server. */
export function toConfig(draft: Draft, offered: Offered): Config {
  const shared = omit(draft.document, "teacher", "methods", "further_teachers", "control");
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
  return merged(config, {
    teacher: merged(draft.document.teacher, { min_ap: fractionOf(draft.minAp), class_map: classMapOf(draft, "") }),
    methods: methodsOf(draft, offered),
    further_teachers: furtherTeachersOf(draft, offered),
    control: draft.control,
  }) as unknown as Config;
}

export function toRequest(draft: Draft, config: Config): JobCreate {
  const further = Object.entries(draft.furtherIds).filter(([, id]) => id !== "");
  return {
    name: draft.name,
    dataset_id: draft.datasetId,
    ...(config.kind === "distill" ? { teacher_id: draft.teacherId || null } : {}),
    ...(config.kind === "distill" && further.length > 0 ? { further_teacher_ids: Object.fromEntries(further) } : {}),
    ...(draft.studentFrom === "checkpoint" ? { student_id: draft.studentId || null } : {}),
    ...(draft.allowPartial ? { allow_partial: true } : {}),
    config,
  };
}
