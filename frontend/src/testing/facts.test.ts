/** One fact, one place: what the catalog serves is told nowhere in the sources. */
import { expect, it } from "vitest";

import { KINDS, STAGES } from "@/testing/catalog";

const SOURCES = import.meta.glob<string>(["/src/**/*.{ts,tsx}", "!/src/**/*.gen.ts"], { query: "?raw", import: "default", eager: true });

/** Names that a source may write all the same, as `/src/file.ts: name`, each with its reason. There are none. */
const ALLOWED: string[] = [];

/** A name of several words wherever it stands; a plain word where it is a text, a key or a property. */
const written = (name: string) => (name.includes("_") ? new RegExp(`\\b${name}\\b`) : new RegExp(`["'\`]${name}["'\`]|\\b${name}\\??:|\\.${name}\\b`));

const found = (names: readonly string[], sources: Record<string, string>) =>
  Object.entries(sources).flatMap(([file, text]) => names.filter((name) => written(name).test(text)).map((name) => `${file}: ${name}`));

it("no source writes the kind of a method or the name of a stage", () => {
  expect(KINDS.length).toBeGreaterThan(3);
  expect(STAGES.length).toBeGreaterThan(3);
  expect(Object.keys(SOURCES)).toContain("/src/lib/catalog.ts");
  expect(found([...KINDS, ...STAGES], SOURCES).filter((place) => !ALLOWED.includes(place))).toEqual([]);
});

it("what is written is found, and code is not taken for it", () => {
  const all = (text: string) => found(["query_thing", "export"], { file: text });
  for (const text of ['kind === "query_thing"', "{ query_thing: 1 }", "`query_thing.l1`"]) expect(all(text)).toEqual(["file: query_thing"]);
  for (const text of ["'export'", "{ export: 1 }", "names.export"]) expect(all(text)).toEqual(["file: export"]);
  for (const text of ["export const a = 1;", "query_things", "the export of files"]) expect(all(text)).toEqual([]);
});
