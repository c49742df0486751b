import { describe, expect, it } from "vitest";

import type { Catalog } from "@/api/client";
import { DocumentError, keptFields, parseDocument, withClassMap, withDocument, withoutKept } from "@/features/new-job/document";
import { type Config, type Draft, emptyDraft, toRequest, withRecipe, toConfig as toConfigOf } from "@/features/new-job/draft";
import { classMapIn, teacherOf } from "@/features/new-job/ErrorSummary";
import { valueAt } from "@/features/new-job/json";
import { type TeacherDraft, addedTeacher, freeName } from "@/features/new-job/teachers";
import { labelOf } from "@/lib/pointers";
import { CATALOG, KINDS } from "@/testing/catalog";

const [FIRST, BY_BOXES, THIRD] = KINDS;
const BY_FORM = KINDS.at(-2) ?? FIRST;
const EMPTY = emptyDraft(CATALOG.methods);
const toConfig = (draft: Draft) => toConfigOf(draft, CATALOG.methods);
const distilled = (draft: Draft) => toConfig(draft) as Extract<Config, { kind: "distill" }>;
const entryOf = (draft: Draft, name = "teacher") => distilled(draft).teachers?.[name];
/** The draft with other values of a teacher. */
const withTeacher = (draft: Draft, values: Partial<TeacherDraft>, name = "teacher"): Draft => {
  const teacher = draft.teachers[name] ?? addedTeacher(draft.teachers, CATALOG.methods);
  return { ...draft, teachers: { ...draft.teachers, [name]: { ...teacher, ...values } } };
};
const back = (document: object, draft = EMPTY) => withDocument(draft, JSON.stringify(document), CATALOG);

describe("a blank field", () => {
  const BLANK = withTeacher({ ...EMPTY, epochs: "", batchSize: " ", lr: "", imageSize: "", seed: "" }, { minAp: "" });

  it("is left out, so that the server's default holds", () => {
    const config = distilled(BLANK);
    expect(config.training).toEqual({});
    expect(config.data).toEqual({ horizontal_flip: true, photometric: true, crop: true });
    expect(Object.keys(entryOf(BLANK) ?? {})).toEqual(["methods"]);
  });

  it("is left out of the edited document too", () => {
    const draft = back({ kind: "distill", teacher: { min_ap: 0.2 }, training: { epochs: 7, warmup_steps: 3 } });
    expect(distilled({ ...draft, epochs: "" }).training).toEqual({ warmup_steps: 3 });
    expect(entryOf(withTeacher(draft, { minAp: "" }))).not.toHaveProperty("min_ap");
    expect(valueAt(toConfig({ ...draft, epochs: "" }), "/training/epochs")).toBeUndefined();
  });

  it("differs from a zero, which is sent", () => {
    expect(distilled({ ...EMPTY, seed: "0" }).training).toMatchObject({ seed: 0 });
    expect(entryOf(withTeacher(EMPTY, { minAp: "0" }))).toMatchObject({ min_ap: 0 });
  });
});

it("AP is 0 to 100 in the form and 0 to 1 in the request", () => {
  for (const [typed, sent] of [["10", 0.1], ["8.7", 0.087], ["0.3", 0.003], ["100", 1]] as const) {
    expect(entryOf(withTeacher(EMPTY, { minAp: typed }))?.min_ap).toBe(sent);
    expect(back({ kind: "distill", teachers: { big: { min_ap: sent } } }).teachers.big?.minAp).toBe(typed);
  }
});

describe("back from JSON", () => {
  const METHODS = [
    { kind: FIRST, variant: "other", split: false },
    { kind: "of_tomorrow", strength: 3 },
    { kind: BY_FORM, form: "other", weight: 0.00002 },
  ];
  const EDITED = {
    kind: "distill",
    student: { family: "d-fine", size: "n", queries: 50 },
    data: { image_size: 320, horizontal_flip: false, photometric: true, crop: true, workers: 2 },
    training: { epochs: 77, lr: 0.000025, drops: [0.5, 0.9] },
    criterion: { l1_weight: 7 },
    teachers: {
      big: { min_ap: 0.25, class_map: { auto: "car" }, methods: METHODS },
      helper: { class_map: { a: "b" }, methods: [{ kind: FIRST }] },
      own: { source: "ema", methods: [{ kind: FIRST, weight: 2 }] },
    },
    control: true,
  };

  it("the form shows what it can", () => {
    const draft = back(EDITED);
    expect(draft).toMatchObject({ epochs: "77", lr: "0.000025", batchSize: "", seed: "", imageSize: "320", flip: false });
    expect(draft).toMatchObject({ family: "d-fine", size: "n", studentFrom: "catalog", control: true });
    const { big, helper, own } = draft.teachers;
    expect(big).toMatchObject({ minAp: "25", classMap: [["auto", "car"]] });
    expect(big?.methods[FIRST]).toEqual({ on: true, choice: "other", weight: "" });
    expect(big?.methods[BY_FORM]).toEqual({ on: true, choice: "other", weight: "0.00002" });
    expect(big?.methods[BY_BOXES].on).toBe(false);
    expect(helper).toMatchObject({ minAp: "", classMap: [["a", "b"]] });
    expect(own?.methods[FIRST].weight).toBe("2");
  });

  it("nothing of the document is lost", () => {
    expect(toConfig(back(EDITED))).toEqual(EDITED);
  });

  it("the short form is taken for a single teacher and becomes the long form", () => {
    const { teachers, ...rest } = EDITED;
    const short = { ...rest, teacher: { min_ap: 0.25, class_map: { auto: "car" } }, methods: METHODS };
    expect(toConfig(back(short))).toEqual({ ...rest, teachers: { teacher: teachers.big } });
    expect(entryOf(back({ kind: "distill" }))?.methods).toEqual(KINDS.slice(0, 3).map((kind) => ({ kind })));
  });

  it("what the form changes changes, the rest stays and is named", () => {
    const draft = back(EDITED);
    const { methods } = draft.teachers.big ?? EMPTY.teachers.teacher ?? {};
    if (methods === undefined) throw new Error("no teacher");
    const changed = withTeacher({ ...draft, epochs: "5" }, { methods: { ...methods, [FIRST]: { ...methods[FIRST], on: false } } }, "big");
    expect(distilled(changed).training).toEqual({ epochs: 5, lr: 0.000025, drops: [0.5, 0.9] });
    expect(entryOf(changed, "big")?.methods?.map(({ kind }) => kind)).toEqual(["of_tomorrow", BY_FORM]);
    expect(keptFields(draft, CATALOG.methods)).toEqual([
      "/student/queries",
      "/data/workers",
      "/training/drops/0",
      "/training/drops/1",
      "/criterion/l1_weight",
      "/teachers/big/methods/0/split",
      "/teachers/big/methods/1/kind",
      "/teachers/big/methods/1/strength",
      "/teachers/own/source",
    ]);
    expect(keptFields(withoutKept(draft), CATALOG.methods)).toEqual([]);
  });

  it("a choice that the document leaves open stays open", () => {
    expect(entryOf(back({ kind: "distill", methods: [{ kind: FIRST }] }))?.methods).toEqual([{ kind: FIRST }]);
  });

  it("training keeps the part of the distillation for the way back", () => {
    const draft = { ...back(EDITED), kind: "train" as const };
    for (const field of ["teachers", "control"]) expect(toConfig(draft)).not.toHaveProperty(field);
    expect(toConfig({ ...draft, kind: "distill" })).toEqual(EDITED);
  });

  it("what the form cannot show keeps the text open, with every error", () => {
    const errorsOf = (document: object) => {
      try {
        back(document);
      } catch (error) {
        return (error as DocumentError).errors;
      }
      return [];
    };
    expect(errorsOf({ kind: "distill", training: { epochs: "many", lr: [1] }, data: { crop: 1 }, methods: "all" })).toEqual([
      "/training/epochs must be a number.",
      "/training/lr must be a number.",
      "/data/crop must be true or false.",
      "/methods must be a list of objects.",
    ]);
    expect(errorsOf({ kind: "sing" })).toEqual(['/kind must be "train" or "distill".']);
    expect(errorsOf({ kind: "distill", teacher: { class_map: ["a"] } })).toEqual(["/teacher/class_map must be an object of texts."]);
    expect(errorsOf({ kind: "distill", teacher: 3 })).toEqual(["/teacher must be an object."]);
    expect(errorsOf({ kind: "distill", teachers: { a: 3, b: { methods: [1] } } })).toEqual([
      "/teachers/a must be an object.",
      "/teachers/b/methods must be a list of objects.",
    ]);
    for (const teachers of [[], {}, null]) expect(errorsOf({ kind: "distill", teachers })).toHaveLength(1);
    expect(errorsOf({ kind: "distill", teachers: { a: {} }, methods: [] })).toHaveLength(1);
    expect(errorsOf({ kind: "distill", methods: [{ kind: THIRD }, { kind: THIRD }] })).toHaveLength(1);
    expect(() => parseDocument("[]")).toThrow(DocumentError);
    expect(() => parseDocument("{")).toThrow(SyntaxError);
  });
});

describe("recipes", () => {
  const recipe = (name: string, config: object) => ({ name, config, needs_checkpoint: false }) as Catalog["recipes"][number];
  const recipes = [
    recipe("a", { student: { family: "adamixer", size: "r50" }, training: { epochs: 12, lr: 0.000025 } }),
    recipe("b", { training: { batch_size: 4 }, methods: [{ kind: THIRD, variant: "other" }] }),
  ];
  const choose = (draft: Draft, name: string) => withRecipe(draft, name, { ...CATALOG, recipes });

  it("none brings back what was there before", () => {
    const typed = { ...EMPTY, epochs: "9" };
    const chosen = choose(typed, "a");
    expect(chosen).toMatchObject({ epochs: "12", family: "adamixer", recipe: "a" });
    expect(choose(chosen, "")).toEqual(typed);
  });

  it("another one replaces the first", () => {
    const second = choose(choose(EMPTY, "a"), "b");
    expect(second).toMatchObject({ recipe: "b", epochs: EMPTY.epochs, batchSize: "4", family: EMPTY.family });
    expect(entryOf(second)?.methods).toEqual([{ kind: THIRD, variant: "other" }]);
    expect(choose(second, "")).toEqual(EMPTY);
  });

  it("its methods are those of the first teacher alone, whose other fields and companions stay", () => {
    const typed = withTeacher(EMPTY, {}, "second");
    const chosen = withTeacher(choose(typed, "b"), { minAp: "3" });
    expect(entryOf(chosen)).toMatchObject({ min_ap: 0.03, methods: [{ kind: THIRD }] });
    expect(entryOf(chosen, "second")).toEqual(entryOf(typed, "second"));
    expect(choose(chosen, "")).toEqual(withTeacher(typed, { minAp: "3" }));
  });
});

it("the form begins with the methods and variants that the catalog calls the usual ones", () => {
  expect(entryOf(EMPTY)?.methods).toEqual(KINDS.slice(0, 3).map((kind) => ({ kind, variant: "usual" })));
  expect(EMPTY.teachers.teacher?.methods[KINDS.at(-1) ?? FIRST]).toEqual({ on: false, choice: "", weight: "" });
});

it("a teacher that is added has a name of its own and the method that all can teach", () => {
  expect(freeName(EMPTY.teachers)).toBe("second");
  const two = withTeacher(EMPTY, {}, "second");
  expect(entryOf(two, "second")).toEqual({ min_ap: 0.1, methods: [{ kind: BY_BOXES, variant: "usual" }] });
  expect(freeName(two.teachers)).toBe("third");
});

describe("a class map that the service suggests", () => {
  it("is found in the hint and belongs to the teacher of the pointer", () => {
    expect(classMapIn('Say which is which: "class_map": {"auto": "car"}')).toEqual({ auto: "car" });
    expect(classMapIn('Add {"class_map": {"auto": "car", "velo": "bike"}}.')).toEqual({ auto: "car", velo: "bike" });
    for (const nothing of ["", "none known", "{}", "{auto}", '{"auto": 3}']) expect(classMapIn(nothing)).toBeNull();
    const pointers = ["/teacher_id", "/teacher_ids/helper", "/config/teachers/x/class_map", "/config/teacher/class_map"];
    expect(pointers.map(teacherOf)).toEqual(["teacher", "helper", "x", "teacher"]);
  });

  it("is taken over into form and document", () => {
    const draft = withTeacher(EMPTY, { classMap: [["auto", "car"], ["", ""]] });
    expect(entryOf(draft)).toMatchObject({ min_ap: 0.1, class_map: { auto: "car" } });
    expect(valueAt(withClassMap(toConfig(EMPTY), "teacher", { auto: "car" }), "/teachers/teacher")).toEqual({
      ...entryOf(EMPTY),
      class_map: { auto: "car" },
    });
    const short = { kind: "distill", teacher: { min_ap: 0.1 } } as Config;
    expect(withClassMap(short, "teacher", { a: "b" })).toEqual({ kind: "distill", teacher: { min_ap: 0.1, class_map: { a: "b" } } });
  });
});

it("the request names what was chosen, and partial weights only where they are allowed", () => {
  const draft: Draft = { ...withTeacher(EMPTY, {}, "second"), name: "n", datasetId: "d", teacherIds: { teacher: "t", second: "", gone: "g" } };
  expect(toRequest(draft, toConfig(draft))).toMatchObject({ teacher_ids: { teacher: "t" } });
  expect(toRequest({ ...draft, kind: "train" }, toConfig({ ...draft, kind: "train" }))).not.toHaveProperty("teacher_ids");
  expect(toRequest({ ...draft, teacherIds: {} }, toConfig(draft))).not.toHaveProperty("teacher_ids");
  expect(toRequest(draft, { kind: "distill" }).teacher_ids).toEqual({ teacher: "t" });
  expect(toRequest(draft, { kind: "distill", teachers: { teacher: { source: "ema" } } } as unknown as Config)).not.toHaveProperty("teacher_ids");
  expect(toRequest(draft, toConfig(draft))).not.toHaveProperty("allow_partial");
  expect(toRequest({ ...draft, allowPartial: true }, toConfig(draft)).allow_partial).toBe(true);
});

it("pointers of both forms are called what the page calls them", () => {
  const labels = ["/teacher_id", "/teacher_ids/big", "/config/teacher/min_ap", "/config/teachers/big/min_ap", "/config/methods", "/config/teachers/big/class_map"];
  expect(labels.map(labelOf)).toEqual(["Teacher", "Teacher big", "Lowest teacher AP", "Lowest AP of teacher big", "Distillation", "Class names of teacher big"]);
  for (const unknown of ["/config/teachers/big", "/config/methods/0/weight", "/config/training/steps"]) expect(labelOf(unknown)).toBeUndefined();
});
