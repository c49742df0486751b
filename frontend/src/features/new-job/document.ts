/** Back from the JSON document to the form: what the form can show of it, and what stays outside. */
import type { Catalog, DistillConfig } from "@/api/client";
import {
  AUGMENTATIONS,
  type ClassPair,
  type Config,
  type Draft,
  type Json,
  type Offered,
  isObject,
  methodDrafts,
  recipeNamed,
  usualMethods,
} from "@/features/new-job/draft";

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

/**
 * The draft with what the form can show of an edited configuration.
 *
 * Throws `DocumentError` where a field that the form shows holds what it cannot show; nothing is dropped in silence.
 */
export function withDocument(draft: Draft, text: string, catalog: Pick<Catalog, "methods" | "recipes">): Draft {
  const document = parseDocument(text);
  const reader = new Reader(document, catalog.methods);
  const recipe = reader.string("/recipe");
  const chosen = recipeNamed(recipe, catalog)?.config as Partial<DistillConfig> | undefined;
  const student = "student" in document ? document.student : chosen?.student;
  if (student != null && !isObject(student)) reader.errors.push("/student must be an object or null.");
  const given = "student" in document;
  const values: Draft = {
    ...draft,
    document,
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
    values.minAp = reader.number("/teacher/min_ap", 100);
    values.methods = methodDrafts(reader.methods(chosen?.methods ?? usualMethods(catalog.methods)), catalog.methods, "");
    values.classMaps = reader.classMaps();
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

  methods(fallback: readonly object[]): readonly object[] {
    const { methods } = this.document;
    if (methods === undefined) return fallback;
    if (!Array.isArray(methods) || !methods.every(isObject)) return this.reject("/methods", "a list of objects", fallback);
    methods.forEach((method, index) => {
      const field = this.offered.find(({ kind }) => kind === method.kind)?.variant_field;
      if (field) this.string(`/methods/${index}/${field}`);
      this.number(`/methods/${index}/weight`);
      const earlier = methods.findIndex(({ kind }) => kind === method.kind);
      if (earlier < index) this.errors.push(`/methods/${index} has the kind of /methods/${earlier}: list each once.`);
    });
    return methods;
  }

  classMaps(): Record<string, ClassPair[]> {
    const { further_teachers: further = {} } = this.document;
    if (!isObject(further)) return this.reject("/further_teachers", "an object", {});
    const pointers: [name: string, pointer: string][] = [["", ""]];
    for (const [name, entry] of Object.entries(further)) {
      if (isObject(entry)) pointers.push([name, `/further_teachers/${name}`]);
      else this.reject(`/further_teachers/${name}`, "an object", {});
    }
    const maps = pointers.map(([name, pointer]) => [name, this.pairs(`${pointer}/teacher/class_map`)] as const);
    return Object.fromEntries(maps.filter(([, pairs]) => pairs.length > 0));
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

/** The value at a JSON pointer (RFC 6901); undefined where there is none. */
export function valueAt(document: unknown, pointer: string): unknown {
  let node = document;
  for (const part of pointer.split("/").slice(1)) {
    if (typeof node !== "object" || node === null) return undefined;
    node = (node as Json)[part.replaceAll("~1", "/").replaceAll("~0", "~")];
  }
  return node;
}

const SHOWN = [
  /^\/(kind|recipe|student|control)$/,
  /^\/student\/(family|size)$/,
  /^\/data\/(image_size|horizontal_flip|photometric|crop)$/,
  /^\/training\/(epochs|batch_size|lr|seed)$/,
  /^(\/further_teachers\/[^/]+)?\/teacher\/class_map(\/|$)/,
  /^\/teacher\/min_ap$/,
];

/** Pointers to the values of an edited configuration that the form does not show, and that it keeps. */
export function keptFields(document: Json, kind: Config["kind"], offered: Offered): string[] {
  const ofDistillation = /^\/(teacher|methods|further_teachers|control)(\/|$)/;
  const methods = Array.isArray(document.methods) ? (document.methods as Json[]) : [];
  const shownMethods = methods.flatMap((method, index) => {
    const known = offered.find((one) => one.kind === method.kind);
    return known ? ["kind", "weight", known.variant_field].map((field) => `/methods/${index}/${field}`) : [];
  });
  return leaves(document, "").filter(
    (pointer) =>
      !SHOWN.some((pattern) => pattern.test(pointer)) &&
      !shownMethods.includes(pointer) &&
      (kind === "distill" || !ofDistillation.test(pointer)),
  );
}

/** The same configuration with a map of class names for one of its teachers. */
export function withClassMap(config: Config, teacher: string, map: Record<string, string>): Config {
  const changed = structuredClone(config) as unknown as Json;
  const entry = teacher === "" ? changed : ((changed.further_teachers as Json)[teacher] as Json);
  entry.teacher = { ...(isObject(entry.teacher) ? entry.teacher : {}), class_map: map };
  return changed as unknown as Config;
}

function leaves(value: unknown, pointer: string): string[] {
  if (typeof value !== "object" || value === null) return [pointer];
  const entries = Object.entries(value);
  const escaped = (key: string) => key.replaceAll("~", "~0").replaceAll("/", "~1");
  return entries.flatMap(([key, inner]) => leaves(inner, `${pointer}/${escaped(key)}`));
}
