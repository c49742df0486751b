import js from "@eslint/js";
import hooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

const features = ["jobs", "job", "new-job", "library"];

export default tseslint.config(
  { ignores: ["dist", "src/api/schema.gen.ts"] },
  js.configs.recommended,
  tseslint.configs.strict,
  hooks.configs.flat.recommended,
  { rules: { "max-lines": ["error", 250] } },
  // features do not import features; what they share lies in components, lib and api
  ...features.map((feature) => ({
    files: [`src/features/${feature}/**`],
    rules: {
      "no-restricted-imports": [
        "error",
        { patterns: features.filter((other) => other !== feature).map((other) => `@/features/${other}/*`) },
      ],
    },
  })),
);
