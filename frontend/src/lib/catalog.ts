/** What the service's own names are called: `GET /catalog` says it, and a name that is not there is shown in words. */
import type { Catalog, MethodView, StageView } from "@/api/client";
import { useCatalog } from "@/api/queries";
import { capitalize } from "@/lib/format";

export type MethodKind = MethodView["kind"];
export type Stage = StageView["name"];

/** The part of the catalog that names things. */
export type Names = Pick<Catalog, "methods" | "stages" | "events" | "curves">;

const NONE: Names = { methods: [], stages: [], events: [], curves: [] };

/** Names of the catalog; none while it is not there. */
export const useNames = (): Names => useCatalog().data ?? NONE;

export const inWords = (name: string) => name.replaceAll(/[._-]+/g, " ").trim();

/** The title of a method or of a curve. */
export function titleOf(name: string, { methods, curves }: Pick<Names, "methods" | "curves">): string {
  const known = methods.find(({ kind }) => kind === name) ?? curves.find((curve) => curve.name === name);
  return known?.title ?? capitalize(inWords(name));
}

export const activityOf = (stage: string, { stages }: Pick<Names, "stages">): string =>
  stages.find(({ name }) => name === stage)?.activity ?? inWords(stage);
