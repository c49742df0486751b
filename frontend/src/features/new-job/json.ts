/** Documents in JSON: reading them, and writing values over them. */

export type Json = Record<string, unknown>;

export const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/** An object with other values; one that is undefined takes the key away. */
export function merged(base: unknown, values: Json): Json {
  const all = { ...(isObject(base) ? base : {}), ...values };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** The number that a field holds; undefined for a blank one. */
export const numberOf = (text: string) => (text.trim() === "" ? undefined : Number(text));

/** The value at a JSON pointer (RFC 6901); undefined where there is none. */
export function valueAt(document: unknown, pointer: string): unknown {
  let node = document;
  for (const part of pointer.split("/").slice(1)) {
    if (typeof node !== "object" || node === null) return undefined;
    node = (node as Json)[part.replaceAll("~1", "/").replaceAll("~0", "~")];
  }
  return node;
}

/** Pointers to all values that hold no others. */
export function leaves(value: unknown, pointer = ""): string[] {
  if (typeof value !== "object" || value === null) return [pointer];
  const escaped = (key: string) => key.replaceAll("~", "~0").replaceAll("/", "~1");
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, `${pointer}/${escaped(key)}`));
}
