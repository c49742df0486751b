import type { RecipeView } from "@/api/client";
import { SelectField } from "@/components/Field";
import type { Draft, ProblemAt } from "@/features/new-job/draft";
import { FIELD_LABELS } from "@/lib/pointers";

interface Props {
  draft: Draft;
  recipes: readonly RecipeView[];
  choose: (name: string) => void;
  disabled: boolean;
  problemAt: ProblemAt;
}

const NEEDS_CHECKPOINT = " The student must start from a checkpoint whose backbone is trained.";

/** Chooses a named configuration; its fields appear in the form and can be changed there. */
export function RecipeField({ draft, recipes, choose, disabled, problemAt }: Props) {
  const chosen = recipes.find(({ name }) => name === draft.recipe);
  const about = chosen ? `Teacher: ${chosen.teacher}. Source: ${chosen.source}.${chosen.needs_checkpoint ? NEEDS_CHECKPOINT : ""}` : "Fills the form with published settings.";
  return (
    <SelectField
      label={FIELD_LABELS["/config/recipe"]}
      value={draft.recipe}
      onChange={(event) => choose(event.target.value)}
      disabled={disabled}
      hint={disabled ? "Named in the JSON." : about}
      problem={problemAt("/config/recipe")}
    >
      <option value="">none</option>
      {draft.recipe !== "" && chosen === undefined && <option value={draft.recipe}>{draft.recipe}</option>}
      {recipes.map(({ name, title }) => (
        <option key={name} value={name}>
          {title}
        </option>
      ))}
    </SelectField>
  );
}
