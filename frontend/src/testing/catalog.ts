/** A catalog for tests: the names are those of the API's description, whatever they are; the words are made up. */
import type { Catalog, MethodView, StageView } from "@/api/client";

import description from "../../openapi.json?raw";

interface Enumeration {
  enum: string[];
}

const { schemas } = (JSON.parse(description) as { components: { schemas: Record<string, { properties: Record<string, Enumeration> }> } }).components;

const namesIn = (schema: string, property: string) => schemas[schema]?.properties[property]?.enum ?? [];

export const KINDS = namesIn("MethodView", "kind") as [MethodView["kind"], MethodView["kind"], MethodView["kind"], ...MethodView["kind"][]];
export const STAGES = namesIn("StageView", "name") as StageView["name"][];

const TERMS = ["classification", "l1", "giou"];
const FIELD = { description: "", by_variant: {} };

/** The first three are used where no methods are named, the last but one chooses by `form`, the last has no variants. */
const METHODS = KINDS.map((kind, index): MethodView => {
  const field = index === KINDS.length - 1 ? null : index === KINDS.length - 2 ? "form" : "variant";
  const variants = field === null ? [] : ["usual", "other"];
  return {
    kind,
    title: `Title of ${kind}`,
    paper: "",
    summary: "",
    variant_field: field,
    variants,
    variant_titles: Object.fromEntries(variants.map((name) => [name, `the ${name} one`])),
    default_variant: variants[0] ?? null,
    is_default: index < 3,
    terms: TERMS,
    needs: index === 1 ? ["boxes and scores"] : ["boxes and scores", "queries"],
    fields: [{ ...FIELD, name: "weight", default: 1 }],
  };
});

export const CATALOG = {
  families: [],
  recipes: [],
  methods: METHODS,
  stages: STAGES.map((name) => ({ name, title: `Title of ${name}`, activity: `doing ${name}` })),
  events: [{ name: "halt", description: "It was halted.", fields: [] }],
  curves: [
    { name: "total", title: "Total loss", terms: [] },
    { name: "detection", title: "Detection loss", terms: TERMS },
    { name: "lr", title: "Learning rate", terms: [] },
    { name: "images_per_second", title: "Images per second", terms: [] },
  ],
  errors: [],
} satisfies Catalog;
