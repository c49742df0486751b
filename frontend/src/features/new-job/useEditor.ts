/** What is being written on the page: a draft in the form, or the JSON it has become. */
import { useState } from "react";

import type { Catalog } from "@/api/client";
import { parseDocument, tryParse, withClassMap, withDocument, withoutKept } from "@/features/new-job/document";
import { type Change, type Config, emptyDraft, toConfig, toRequest, withRecipe } from "@/features/new-job/draft";

const textOf = (config: Config) => JSON.stringify(config, null, 2);

export function useEditor(catalog: Catalog) {
  const [draft, setDraft] = useState(() => emptyDraft(catalog.methods));
  const [json, setJson] = useState<string | null>(null);
  const [jsonError, setJsonError] = useState<string | null>(null);

  const change: Change = (values) => setDraft((old) => ({ ...old, ...values }));
  const config = json === null ? toConfig(draft, catalog.methods) : tryParse(json);

  const switchView = () => {
    setJsonError(null);
    if (json === null) return setJson(textOf(toConfig(draft, catalog.methods)));
    try {
      setDraft(withDocument(draft, json, catalog));
      setJson(null);
    } catch (error) {
      setJsonError(`The form cannot show this: ${(error as Error).message}`);
    }
  };

  const applyClassMap = (name: string, map: Record<string, string>) => {
    const teacher = draft.teachers[name];
    if (json !== null) {
      if (config) setJson(textOf(withClassMap(config, name, map)));
    } else if (teacher) {
      change({ teachers: { ...draft.teachers, [name]: { ...teacher, classMap: Object.entries(map) } } });
    }
  };

  /** The request as it is written now; undefined, and an error is shown, where the JSON is broken. */
  const finished = () => {
    setJsonError(null);
    try {
      return toRequest(draft, json === null ? toConfig(draft, catalog.methods) : (parseDocument(json) as unknown as Config));
    } catch (error) {
      setJsonError((error as Error).message);
      return undefined;
    }
  };

  return {
    draft,
    change,
    json,
    setJson,
    jsonError,
    config,
    request: config && toRequest(draft, config),
    switchView,
    applyClassMap,
    finished,
    chooseRecipe: (name: string) => setDraft(withRecipe(draft, name, catalog)),
    dropKept: () => setDraft(withoutKept(draft)),
  };
}

export type Editor = ReturnType<typeof useEditor>;
