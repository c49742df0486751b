/** Back from the JSON document to the form: what the form can show of it, and what stays outside. */
import type { DistillConfig } from "@/api/client";
import {
  type ClassPair,
  type Config,
  DEFAULT_METHODS,
  type Draft,
  EMPTY,
  type Json,
  isObject,
  methodDrafts,
} from "@/features/new-job/draft";
import { METHODS } from "@/lib/methods";

/** What keeps a document from being shown as a form: one sentence for each fault. */
export class Unreadable extends Error {
  constructor(readonly faults: string[]) {
    super(faults.join(" "));
  }
}

/** The document that a text is. Throws `Unreadable` or `SyntaxError`. */
export function parsed(text: string): Json {
  const document: unknown = JSON.parse(text);
  if (!isObject(document)) throw new Unreadable(["The configuration must be an object in braces."]);
  if (document.kind !== "train" && document.kind !== "distill") {
    throw new Unreadable(['/kind must be "train" or "distill".']);
  }
  return document;
}

/**
 * The draft with what the form can show of an edited configuration.
 *
 * Throws `Unreadable` where a field that the form shows holds what it cannot show; nothing is dropped in silence.
 */
export function withDocument(draft: Draft, text: string, recipeOf: (name: string) => Partial<DistillConfig> | undefined): Draft {
  const document = parsed(text);
  const read = new Reader(document);
  const recipe = read.text("/recipe");
  const chosen = recipeOf(recipe);
  const student = "student" in document ? document.student : chosen?.student;
  if (student != null && !isObject(student)) read.faults.push("/student must be an object or null.");
  const given = "student" in document;
  const values: Draft = {
    ...draft,
    document,
    kind: document.kind as Draft["kind"],
    recipe,
    beforeRecipe: null,
    studentFrom: isObject(student) ? "catalog" : "checkpoint",
    family: (given ? read.text("/student/family") : chosen?.student?.family) || draft.family,
    size: (given ? read.text("/student/size") : chosen?.student?.size) || draft.size,
    epochs: read.number("/training/epochs"),
    batchSize: read.number("/training/batch_size"),
    lr: read.number("/training/lr"),
    seed: read.number("/training/seed"),
    imageSize: read.number("/data/image_size"),
    flip: read.flag("/data/horizontal_flip", chosen?.data?.horizontal_flip ?? EMPTY.flip),
    photometric: read.flag("/data/photometric", chosen?.data?.photometric ?? EMPTY.photometric),
    crop: read.flag("/data/crop", chosen?.data?.crop ?? EMPTY.crop),
  };
  if (document.kind === "distill") {
    values.control = read.flag("/control", false);
    values.minAp = read.number("/teacher/min_ap", 100);
    values.methods = methodDrafts(read.methods(chosen?.methods ?? DEFAULT_METHODS), "");
    values.classMaps = read.classMaps();
  }
  if (read.faults.length > 0) throw new Unreadable(read.faults);
  return values;
}

/** Reads typed values at pointers, and collects what is of another type. */
class Reader {
  readonly faults: string[] = [];

  constructor(private readonly document: Json) {}

  text(pointer: string): string {
    const value = valueAt(this.document, pointer);
    if (value == null) return "";
    return typeof value === "string" ? value : this.fault(pointer, "a text", "");
  }

  number(pointer: string, times = 1): string {
    const value = valueAt(this.document, pointer);
    if (value == null) return "";
    return typeof value === "number" ? String(Number((times * value).toPrecision(12))) : this.fault(pointer, "a number", "");
  }

  flag(pointer: string, otherwise: boolean): boolean {
    const value = valueAt(this.document, pointer);
    if (value === undefined) return otherwise;
    return typeof value === "boolean" ? value : this.fault(pointer, "true or false", otherwise);
  }

  methods(otherwise: readonly object[]): readonly object[] {
    const { methods } = this.document;
    if (methods === undefined) return otherwise;
    if (!Array.isArray(methods) || !methods.every(isObject)) return this.fault("/methods", "a list of objects", otherwise);
    methods.forEach((method, index) => {
      const field = METHODS.find(({ kind }) => kind === method.kind)?.field;
      if (field) this.text(`/methods/${index}/${field}`);
      this.number(`/methods/${index}/weight`);
      const earlier = methods.findIndex(({ kind }) => kind === method.kind);
      if (earlier < index) this.faults.push(`/methods/${index} has the kind of /methods/${earlier}: list each once.`);
    });
    return methods;
  }

  classMaps(): Record<string, ClassPair[]> {
    const { further_teachers: further = {} } = this.document;
    if (!isObject(further)) return this.fault("/further_teachers", "an object", {});
    const pointers: [name: string, guide: string][] = [["", ""]];
    for (const [name, guide] of Object.entries(further)) {
      if (isObject(guide)) pointers.push([name, `/further_teachers/${name}`]);
      else this.fault(`/further_teachers/${name}`, "an object", {});
    }
    const maps = pointers.map(([name, guide]) => [name, this.pairs(`${guide}/teacher/class_map`)] as const);
    return Object.fromEntries(maps.filter(([, pairs]) => pairs.length > 0));
  }

  private pairs(pointer: string): ClassPair[] {
    const value = valueAt(this.document, pointer);
    if (value === undefined) return [];
    const fine = isObject(value) && Object.values(value).every((name) => typeof name === "string");
    return fine ? (Object.entries(value) as ClassPair[]) : this.fault(pointer, "an object of texts", []);
  }

  private fault<T>(pointer: string, wanted: string, otherwise: T): T {
    this.faults.push(`${pointer} must be ${wanted}.`);
    return otherwise;
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
export function keptFields(document: Json, kind: Config["kind"]): string[] {
  const ofDistillation = /^\/(teacher|methods|further_teachers|control)(\/|$)/;
  const methods = Array.isArray(document.methods) ? (document.methods as Json[]) : [];
  const shownMethods = methods.flatMap((method, index) => {
    const offered = METHODS.find(({ kind: known }) => known === method.kind);
    return offered ? ["kind", "weight", offered.field].map((field) => `/methods/${index}/${field}`) : [];
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
  const guide = teacher === "" ? changed : ((changed.further_teachers as Json)[teacher] as Json);
  guide.teacher = { ...(isObject(guide.teacher) ? guide.teacher : {}), class_map: map };
  return changed as unknown as Config;
}

function leaves(value: unknown, pointer: string): string[] {
  if (typeof value !== "object" || value === null) return [pointer];
  const entries = Object.entries(value);
  const escaped = (key: string) => key.replaceAll("~", "~0").replaceAll("/", "~1");
  return entries.flatMap(([key, inner]) => leaves(inner, `${pointer}/${escaped(key)}`));
}
