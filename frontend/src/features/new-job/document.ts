/** Back from the JSON document to the form: what the form can show of it, and what stays outside. */
import type { Catalog } from "@/api/client";
import { AUGMENTATIONS, type AnyConfig, type Config, type Draft, OF_DISTILLATION, recipeNamed } from "@/features/new-job/draft";
import { type Json, isObject, leaves, valueAt } from "@/features/new-job/json";
import { type ClassPair, type Offered, type TeacherDraft, type Teachers, declaredTeachers, methodDrafts, usualMethods } from "@/features/new-job/teachers";
import { omit } from "@/lib/omit";

/** What keeps a document from being shown as a form: one sentence for each error. */
export class DocumentError extends Error {
  constructor(readonly errors: string[]) {
    super(errors.join(" "));
  }
}

/** The document that a text is. Throws `DocumentError` or `SyntaxError`. */
export function parseDocument(text: string): Json {
  const document: unknown = JSON.parse(text);
  if (!isObject(document)) throw new DocumentError(["The configuration must be an object in braces."]);
  if (document.kind !== "train" && document.kind !== "distill") {
    throw new DocumentError(['/kind must be "train" or "distill".']);
  }
  return document;
}

/** The configuration in a text; undefined while it cannot be parsed. */
export function tryParse(text: string): Config | undefined {
  try {
    return parseDocument(text) as unknown as Config;
  } catch {
    return undefined;
  }
}

/**
 * The draft with what the form can show of an edited configuration.
 *
 * Throws `DocumentError` where a field that the form shows holds what it cannot show; nothing is dropped in silence.
 */
export function withDocument(draft: Draft, text: string, catalog: Pick<Catalog, "methods" | "recipes">): Draft {
  const document = parseDocument(text);
  const reader = new Reader(document, catalog.methods);
  const recipe = reader.string("/recipe");
  const chosen = recipeNamed(recipe, catalog)?.config as AnyConfig | undefined;
  const student = "student" in document ? document.student : chosen?.student;
  if (student != null && !isObject(student)) reader.errors.push("/student must be an object or null.");
  const given = "student" in document;
  const values: Draft = {
    ...draft,
    document: omit(document, ...OF_DISTILLATION),
    kind: document.kind as Draft["kind"],
    recipe,
    beforeRecipe: null,
    studentFrom: isObject(student) ? "catalog" : "checkpoint",
    family: (given ? reader.string("/student/family") : chosen?.student?.family) || draft.family,
    size: (given ? reader.string("/student/size") : chosen?.student?.size) || draft.size,
    epochs: reader.number("/training/epochs"),
    batchSize: reader.number("/training/batch_size"),
    lr: reader.number("/training/lr"),
    seed: reader.number("/training/seed"),
    imageSize: reader.number("/data/image_size"),
    flip: reader.boolean("/data/horizontal_flip", chosen?.data?.horizontal_flip ?? AUGMENTATIONS.flip),
    photometric: reader.boolean("/data/photometric", chosen?.data?.photometric ?? AUGMENTATIONS.photometric),
    crop: reader.boolean("/data/crop", chosen?.data?.crop ?? AUGMENTATIONS.crop),
  };
  if (document.kind === "distill") {
    values.control = reader.boolean("/control", false);
    values.teachers = reader.teachers(chosen?.methods ?? usualMethods(catalog.methods));
  }
  if (reader.errors.length > 0) throw new DocumentError(reader.errors);
  return values;
}

/** Reads typed values at pointers, and collects what is of another type. */
class Reader {
  readonly errors: string[] = [];

  constructor(
    private readonly document: Json,
    private readonly offered: Offered,
  ) {}

  string(pointer: string): string {
    const value = valueAt(this.document, pointer);
    if (value == null) return "";
    return typeof value === "string" ? value : this.reject(pointer, "a text", "");
  }

  number(pointer: string, times = 1): string {
    const value = valueAt(this.document, pointer);
    if (value == null) return "";
    return typeof value === "number" ? String(Number((times * value).toPrecision(12))) : this.reject(pointer, "a number", "");
  }

  boolean(pointer: string, fallback: boolean): boolean {
    const value = valueAt(this.document, pointer);
    if (value === undefined) return fallback;
    return typeof value === "boolean" ? value : this.reject(pointer, "true or false", fallback);
  }

  /** Every teacher by name. `usual`: the methods of one that names none. */
  teachers(usual: readonly object[]): Teachers {
    const { teachers, teacher, methods } = this.document;
    if (teachers !== undefined && !(isObject(teachers) && Object.keys(teachers).length > 0)) {
      return this.reject("/teachers", "an object with a teacher in it", {});
    }
    if (teachers !== undefined && (teacher != null || methods != null)) {
      this.errors.push("/teacher and /methods are the short form for a single teacher: move them into /teachers.");
    }
    return Object.fromEntries(
      declaredTeachers(this.document).map(({ name, entry, at, methodsAt }): [string, TeacherDraft] => {
        const values = {
          minAp: this.number(`${at}/min_ap`, 100),
          classMap: this.pairs(`${at}/class_map`),
          methods: methodDrafts(this.methods(methodsAt, usual), this.offered, ""),
        };
        return [name, { ...values, entry: isObject(entry) ? entry : this.reject(at, "an object", {}) }];
      }),
    );
  }

  private methods(pointer: string, fallback: readonly object[]): readonly object[] {
    const methods = valueAt(this.document, pointer);
    if (methods == null) return fallback;
    if (!Array.isArray(methods) || !methods.every(isObject)) return this.reject(pointer, "a list of objects", fallback);
    methods.forEach((method, index) => {
      const field = this.offered.find(({ kind }) => kind === method.kind)?.variant_field;
      if (field) this.string(`${pointer}/${index}/${field}`);
      this.number(`${pointer}/${index}/weight`);
      const earlier = methods.findIndex(({ kind }) => kind === method.kind);
      if (earlier < index) this.errors.push(`${pointer}/${index} has the kind of ${pointer}/${earlier}: list each once.`);
    });
    return methods;
  }

  private pairs(pointer: string): ClassPair[] {
    const value = valueAt(this.document, pointer);
    if (value === undefined) return [];
    const fine = isObject(value) && Object.values(value).every((name) => typeof name === "string");
    return fine ? (Object.entries(value) as ClassPair[]) : this.reject(pointer, "an object of texts", []);
  }

  private reject<T>(pointer: string, expected: string, fallback: T): T {
    this.errors.push(`${pointer} must be ${expected}.`);
    return fallback;
  }
}

const SHOWN = [
  /^\/(kind|recipe|student)$/,
  /^\/student\/(family|size)$/,
  /^\/data\/(image_size|horizontal_flip|photometric|crop)$/,
  /^\/training\/(epochs|batch_size|lr|seed)$/,
];
const SHOWN_OF_TEACHER = /^\/(min_ap$|class_map(\/|$))/;

/** Pointers to the values of an edited configuration that the form does not show, and that it keeps. */
export function keptFields({ document, kind, teachers }: Draft, offered: Offered): string[] {
  const shared = leaves(document).filter((pointer) => !SHOWN.some((pattern) => pattern.test(pointer)));
  if (kind === "train") return shared;
  const ofTeachers = Object.entries(teachers).flatMap(([name, { entry }]) => keptOfTeacher(entry, offered).map((pointer) => `/teachers/${name}${pointer}`));
  return [...shared, ...ofTeachers];
}

function keptOfTeacher(entry: Json, offered: Offered): string[] {
  const methods = Array.isArray(entry.methods) ? (entry.methods as Json[]) : [];
  const shown = methods.flatMap((method, index) => {
    const known = offered.find(({ kind }) => kind === method.kind);
    return known ? ["kind", "weight", known.variant_field].map((field) => `/methods/${index}/${field}`) : [];
  });
  return leaves(entry).filter((pointer) => !SHOWN_OF_TEACHER.test(pointer) && !shown.includes(pointer));
}

/** The draft without what `keptFields` names. */
export const withoutKept = (draft: Draft): Draft => ({
  ...draft,
  document: {},
  teachers: Object.fromEntries(Object.entries(draft.teachers).map(([name, teacher]) => [name, { ...teacher, entry: {} }])),
});

/** The same configuration with a map of class names for one of its teachers, in the form that it has. */
export function withClassMap(config: Config, teacher: string, map: Record<string, string>): Config {
  const { teachers, teacher: single } = config as unknown as Json;
  if (!isObject(teachers)) return { ...config, teacher: { ...(isObject(single) ? single : {}), class_map: map } } as unknown as Config;
  const entry = isObject(teachers[teacher]) ? teachers[teacher] : {};
  return { ...config, teachers: { ...teachers, [teacher]: { ...entry, class_map: map } } } as unknown as Config;
}
