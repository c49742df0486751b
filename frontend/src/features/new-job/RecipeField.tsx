import { useCatalog } from "@/api/queries";
import { SelectField } from "@/components/Field";
import { type Draft, fromRecipe } from "@/features/new-job/draft";
import type { Change, ProblemAt } from "@/features/new-job/NewJobPage";

const NEEDS_CHECKPOINT = " The student must start from a checkpoint whose backbone is trained.";

/** Chooses a named configuration; its fields appear in the form and can be changed there. */
export function RecipeField({ draft, change, problemAt }: { draft: Draft; change: Change; problemAt: ProblemAt }) {
  const recipes = useCatalog().data?.recipes ?? [];
  const chosen = recipes.find(({ name }) => name === draft.recipe);
  return (
    <SelectField
      label="Recipe"
      value={draft.recipe}
      onChange={(event) => {
        const recipe = recipes.find(({ name }) => name === event.target.value);
        change(recipe ? fromRecipe(recipe.name, recipe.config, recipe.needs_checkpoint) : { recipe: "" });
      }}
      hint={chosen ? `Teacher: ${chosen.teacher}. Source: ${chosen.source}.${chosen.needs_checkpoint ? NEEDS_CHECKPOINT : ""}` : "Fills the form with published settings."}
      problem={problemAt("/config/recipe")}
    >
      <option value="">none</option>
      {recipes.map(({ name, title }) => (
        <option key={name} value={name}>
          {title}
        </option>
      ))}
    </SelectField>
  );
}
