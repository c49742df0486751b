import { describe, expect, it } from "vitest";

import type { Catalog, DistillConfig } from "@/api/client";
import { classMapIn, teacherOf } from "@/features/new-job/ErrorSummary";
import { type Draft, emptyDraft, toRequest, withRecipe, toConfig as toConfigOf } from "@/features/new-job/draft";
import { DocumentError, keptFields, parseDocument, valueAt, withClassMap, withDocument } from "@/features/new-job/document";
import { CATALOG, KINDS } from "@/testing/catalog";

const [FIRST, BY_BOXES, THIRD] = KINDS;
const BY_FORM = KINDS.at(-2) ?? FIRST;
const EMPTY = emptyDraft(CATALOG.methods);
const toConfig = (draft: Draft) => toConfigOf(draft, CATALOG.methods);
const distilled = (draft: Draft) => toConfig(draft) as DistillConfig;
const back = (document: object, draft = EMPTY) => withDocument(draft, JSON.stringify(document), CATALOG);

describe("a blank field", () => {
  const BLANK: Draft = { ...EMPTY, epochs: "", batchSize: " ", lr: "", imageSize: "", seed: "", minAp: "" };

  it("is left out, so that the server's default holds", () => {
    const config = distilled(BLANK);
    expect(config.training).toEqual({});
    expect(config.data).toEqual({ horizontal_flip: true, photometric: true, crop: true });
    expect(config.teacher).toEqual({});
    expect(distilled({ ...BLANK, furtherIds: { second: "x" } }).further_teachers?.second?.teacher).toBeUndefined();
  });

  it("is left out of the edited document too", () => {
    const draft = back({ kind: "distill", teacher: { min_ap: 0.2 }, training: { epochs: 7, warmup_steps: 3 } });
    expect(distilled({ ...draft, minAp: "", epochs: "" })).toMatchObject({ teacher: {}, training: { warmup_steps: 3 } });
    expect(valueAt(toConfig({ ...draft, epochs: "" }), "/training/epochs")).toBeUndefined();
  });

  it("differs from a zero, which is sent", () => {
    expect(distilled({ ...EMPTY, minAp: "0", seed: "0" })).toMatchObject({ teacher: { min_ap: 0 }, training: { seed: 0 } });
  });
});

it("AP is 0 to 100 in the form and 0 to 1 in the request", () => {
  for (const [typed, sent] of [["10", 0.1], ["8.7", 0.087], ["0.3", 0.003], ["100", 1]] as const) {
    expect(distilled({ ...EMPTY, minAp: typed }).teacher?.min_ap).toBe(sent);
    expect(back({ kind: "distill", teacher: { min_ap: sent } }).minAp).toBe(typed);
  }
});

describe("back from JSON", () => {
  const EDITED = {
    kind: "distill",
    student: { family: "d-fine", size: "n", queries: 50 },
    data: { image_size: 320, horizontal_flip: false, photometric: true, crop: true, workers: 2 },
    training: { epochs: 77, lr: 0.000025, drops: [0.5, 0.9] },
    criterion: { l1_weight: 7 },
    teacher: { min_ap: 0.25, class_map: { auto: "car" } },
    methods: [
      { kind: FIRST, variant: "other", split: false },
      { kind: "of_tomorrow", strength: 3 },
      { kind: BY_FORM, form: "other", weight: 0.00002 },
    ],
    further_teachers: { helper: { methods: [{ kind: FIRST }], teacher: { class_map: { a: "b" } } } },
    control: true,
  };

  it("the form shows what it can", () => {
    const draft = back(EDITED);
    expect(draft).toMatchObject({ epochs: "77", lr: "0.000025", batchSize: "", seed: "", imageSize: "320", flip: false, minAp: "25" });
    expect(draft).toMatchObject({ family: "d-fine", size: "n", studentFrom: "catalog", control: true });
    expect(draft.methods[FIRST]).toEqual({ on: true, choice: "other", weight: "" });
    expect(draft.methods[BY_FORM]).toEqual({ on: true, choice: "other", weight: "0.00002" });
    expect(draft.methods[BY_BOXES].on).toBe(false);
    expect(draft.classMaps).toEqual({ "": [["auto", "car"]], helper: [["a", "b"]] });
  });

  it("nothing of the document is lost", () => {
    expect(toConfig(back(EDITED))).toEqual(EDITED);
  });

  it("what the form changes changes, the rest stays and is named", () => {
    const draft = back(EDITED);
    const methods = { ...draft.methods, [FIRST]: { ...draft.methods[FIRST], on: false } };
    const config = distilled({ ...draft, epochs: "5", methods });
    expect(config.training).toEqual({ epochs: 5, lr: 0.000025, drops: [0.5, 0.9] });
    expect(config.methods?.map(({ kind }) => kind)).toEqual(["of_tomorrow", BY_FORM]);
    expect(keptFields(draft.document, "distill", CATALOG.methods)).toEqual([
      "/student/queries",
      "/data/workers",
      "/training/drops/0",
      "/training/drops/1",
      "/criterion/l1_weight",
      "/methods/0/split",
      "/methods/1/kind",
      "/methods/1/strength",
      "/further_teachers/helper/methods/0/kind",
    ]);
  });

  it("a choice that the document leaves open stays open", () => {
    const draft = back({ kind: "distill", methods: [{ kind: FIRST }] });
    expect(distilled(draft).methods).toEqual([{ kind: FIRST }]);
  });

  it("training keeps the part of the distillation for the way back", () => {
    const draft = { ...back(EDITED), kind: "train" as const };
    expect(Object.keys(toConfig(draft))).not.toContain("methods");
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
    expect(distilled(second).methods).toEqual([{ kind: THIRD, variant: "other" }]);
    expect(choose(second, "")).toEqual(EMPTY);
  });
});

it("the form begins with the methods and variants that the catalog calls the usual ones", () => {
  expect(distilled(EMPTY).methods).toEqual(KINDS.slice(0, 3).map((kind) => ({ kind, variant: "usual" })));
  expect(EMPTY.methods[KINDS.at(-1) ?? FIRST]).toEqual({ on: false, choice: "", weight: "" });
  const { second } = distilled({ ...EMPTY, furtherIds: { second: "x" } }).further_teachers ?? {};
  expect(second?.methods).toEqual([{ kind: BY_BOXES, variant: "usual" }]);
});

describe("a class map that the service suggests", () => {
  it("is found in the hint and belongs to the teacher of the pointer", () => {
    expect(classMapIn('Say which is which: "class_map": {"auto": "car"}')).toEqual({ auto: "car" });
    expect(classMapIn('Add {"class_map": {"auto": "car", "velo": "bike"}}.')).toEqual({ auto: "car", velo: "bike" });
    for (const nothing of ["", "none known", "{}", "{auto}", '{"auto": 3}']) expect(classMapIn(nothing)).toBeNull();
    expect(["/teacher_id", "/further_teacher_ids/helper", "/config/further_teachers/x/teacher"].map(teacherOf)).toEqual(["", "helper", "x"]);
  });

  it("is taken over into form and document", () => {
    const draft: Draft = { ...EMPTY, classMaps: { "": [["auto", "car"], ["", ""]], second: [["a", "b"]] }, furtherIds: { second: "id" } };
    expect(distilled(draft).teacher).toEqual({ min_ap: 0.1, class_map: { auto: "car" } });
    expect(distilled(draft).further_teachers?.second?.teacher).toEqual({ min_ap: 0.1, class_map: { a: "b" } });
    const config = withClassMap(toConfig(EMPTY), "", { auto: "car" }) as DistillConfig;
    expect(config.teacher).toEqual({ min_ap: 0.1, class_map: { auto: "car" } });
  });
});

it("the request names what was chosen, and partial weights only where they are allowed", () => {
  const draft: Draft = { ...EMPTY, name: "n", datasetId: "d", teacherId: "t", furtherIds: { second: "s" } };
  expect(toRequest(draft, toConfig(draft))).toMatchObject({ teacher_id: "t", further_teacher_ids: { second: "s" } });
  expect(toRequest(draft, toConfig(draft))).not.toHaveProperty("allow_partial");
  expect(toRequest({ ...draft, allowPartial: true }, toConfig(draft)).allow_partial).toBe(true);
});
