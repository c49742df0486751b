/** The teachers of a draft: what the form holds of each, and the entry of `teachers` it becomes. */
import type { MethodView } from "@/api/client";
import { type Json, isObject, merged, numberOf } from "@/features/new-job/json";
import type { MethodKind } from "@/lib/catalog";
import { TEACHER } from "@/lib/teachers";

/** The methods of the catalog, which the form offers. */
export type Offered = readonly MethodView[];

export interface MethodDraft {
  on: boolean;
  /** Empty: what the server takes where nothing is said. */
  choice: string;
  /** Empty: the default of the choice. */
  weight: string;
}

export type MethodDrafts = Record<MethodKind, MethodDraft>;

/** A class of the teacher and the class of the dataset that it is. */
export type ClassPair = [teachers: string, ours: string];

export interface TeacherDraft {
  /** 0 to 100, as every AP on the pages. */
  minAp: string;
  classMap: ClassPair[];
  methods: MethodDrafts;
  /** Its entry as it was last edited as JSON: what the form does not show stays as it is there. */
  entry: Json;
}

export type Teachers = Record<string, TeacherDraft>;

/** What the form shows of a list of methods. `fallback`: the choice where a method names no variant. */
export function methodDrafts(chosen: readonly object[], offered: Offered, fallback?: string): MethodDrafts {
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
  return Object.fromEntries(entries) as MethodDrafts;
}

/** The methods of a teacher that names none. */
export const usualMethods = (offered: Offered): Json[] => offered.filter((method) => method.is_default).map(({ kind }) => ({ kind }));

export const usualTeacher = (offered: Offered): TeacherDraft => ({
  minAp: "10",
  classMap: [],
  methods: methodDrafts(usualMethods(offered), offered),
  entry: {},
});

/** Names of the teachers that the form adds. */
const NAMES = ["second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"];

export const freeName = (teachers: Teachers) => NAMES.find((name) => !(name in teachers));

/** One more teacher. At first it teaches what every kind of teacher can. */
export function addedTeacher(teachers: Teachers, offered: Offered): TeacherDraft {
  const first = Object.values(teachers)[0];
  const simple = offered.find(({ needs }) => needs.every((signal) => signal === "boxes and scores"));
  return { ...usualTeacher(offered), minAp: first?.minAp ?? "", methods: methodDrafts(simple ? [simple] : [], offered) };
}

/** The student's own moving average teaches; it has no checkpoint, no gate and no class names. */
export const isOwnAverage = (entry: unknown) => isObject(entry) && entry.source === "ema";

const fractionOf = (percent: string) => (percent.trim() === "" ? undefined : Number((Number(percent) / 100).toPrecision(12)));

function classMapOf({ classMap }: TeacherDraft): Record<string, string> | undefined {
  const pairs = classMap.filter(([from, to]) => from !== "" || to !== "");
  return pairs.length === 0 ? undefined : Object.fromEntries(pairs);
}

function methodsOf({ methods, entry }: TeacherDraft, offered: Offered): Json[] {
  const listed = Array.isArray(entry.methods) ? entry.methods.filter(isObject) : [];
  const shown = (base: Json, { kind, variant_field: field }: MethodView) => {
    const { choice, weight } = methods[kind];
    return merged(base, { kind, ...(field ? { [field]: choice || undefined } : {}), weight: numberOf(weight) });
  };
  const kept = listed.flatMap((method) => {
    const known = offered.find(({ kind }) => kind === method.kind);
    if (known === undefined) return [method];
    return methods[known.kind].on ? [shown(method, known)] : [];
  });
  const added = offered.filter(({ kind }) => methods[kind].on && !listed.some((method) => method.kind === kind));
  return [...kept, ...added.map((method) => shown({}, method))];
}

/** The entry of `teachers` that a teacher of the form becomes. */
export const toEntry = (teacher: TeacherDraft, offered: Offered): Json =>
  merged(teacher.entry, { min_ap: fractionOf(teacher.minAp), class_map: classMapOf(teacher), methods: methodsOf(teacher, offered) });

interface Declared {
  name: string;
  entry: unknown;
  /** Where its settings and its methods stand. */
  at: string;
  methodsAt: string;
}

/** The teachers of a configuration, in the long form or in the short one, which is for a single teacher. */
export function declaredTeachers({ teachers, teacher, methods }: Json): Declared[] {
  if (isObject(teachers)) {
    return Object.entries(teachers).map(([name, entry]) => ({ name, entry, at: `/teachers/${name}`, methodsAt: `/teachers/${name}/methods` }));
  }
  const entry = teacher == null || isObject(teacher) ? merged(teacher, { methods: methods ?? undefined }) : teacher;
  return [{ name: TEACHER, entry, at: "/teacher", methodsAt: "/methods" }];
}
