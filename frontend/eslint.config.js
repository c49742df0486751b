import { readdirSync } from "node:fs";

import js from "@eslint/js";
import hooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

const features = readdirSync(`${import.meta.dirname}/src/features`);

/** Forbids the imports whose path, as it is written, matches. */
const forbidden = (regex, message) => ({ "no-restricted-imports": ["error", { patterns: [{ regex, message }] }] });

export default tseslint.config(
  { ignores: ["dist", "src/api/schema.gen.ts"] },
  js.configs.recommended,
  tseslint.configs.strict,
  hooks.configs.flat.recommended,
  { rules: { "max-lines": ["error", 250] } },
  ...features.map((feature) => ({
    files: [`src/features/${feature}/**`],
    rules: forbidden(
      `^(@/features/(?!${feature}/)|@/app/|\\.\\./)`,
      "A feature imports no other feature and not the app; what features share lies in components, lib and api.",
    ),
  })),
  {
    files: ["src/{api,components,lib}/**"],
    rules: forbidden("^(@|\\.{1,2}(/.*)?)/(features|app)/", "What features share knows no feature and not the app."),
  },
  // import cycles, those of types too: .oxlintrc.json (eslint-plugin-import and import-x pass over type imports)
);
