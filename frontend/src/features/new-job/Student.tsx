import type { FamilyView } from "@/api/client";
import { useCheckpoints } from "@/api/queries";
import { Card } from "@/components/basics";
import { SegmentedControl, SelectField } from "@/components/Field";
import { ResourceSelect } from "@/components/ResourceSelect";
import type { Change, Draft, ProblemAt } from "@/features/new-job/draft";
import { describeCheckpoint } from "@/lib/describe";
import { FIELD_LABELS } from "@/lib/pointers";

const SOURCES = [
  ["catalog", "New, from the catalog"],
  ["checkpoint", "From a checkpoint"],
] as const;

interface Props {
  draft: Draft;
  families: readonly FamilyView[];
  change: Change;
  problemAt: ProblemAt;
}

export function Student({ draft, families, change, problemAt }: Props) {
  const checkpoints = useCheckpoints();
  const sizes = families.find(({ name }) => name === draft.family)?.sizes ?? [];
  const size = sizes.find(({ name }) => name === draft.size);
  return (
    <Card
      title={draft.kind === "distill" ? "Student" : "Detector"}
      aside={<SegmentedControl name="student" value={draft.studentFrom} options={SOURCES} onChange={(studentFrom) => change({ studentFrom })} />}
    >
      {draft.studentFrom === "catalog" ? (
        <div className="grid gap-4 md:grid-cols-2">
          <SelectField
            label={FIELD_LABELS["/config/student/family"]}
            value={draft.family}
            onChange={(event) => {
              const family = event.target.value;
              const known = families.find(({ name }) => name === family)?.sizes ?? [];
              const kept = known.some(({ name }) => name === draft.size);
              change({ family, size: kept ? draft.size : (known[0]?.name ?? "") });
            }}
            problem={problemAt("/config/student", "/config/student/family")}
          >
            {families.every(({ name }) => name !== draft.family) && <option value={draft.family}>{draft.family}</option>}
            {families.map(({ name, title, paper }) => (
              <option key={name} value={name}>
                {title} ({paper})
              </option>
            ))}
          </SelectField>
          <SelectField
            label={FIELD_LABELS["/config/student/size"]}
            value={draft.size}
            onChange={(event) => change({ size: event.target.value })}
            hint={size && `${size.decoder_layers} decoder layers, ${size.queries} queries, width ${size.width}`}
            problem={problemAt("/config/student/size", "/config/student/queries")}
          >
            {size === undefined && <option value={draft.size}>{draft.size}</option>}
            {sizes.map(({ name, description }) => (
              <option key={name} value={name}>
                {name}: {description}
              </option>
            ))}
          </SelectField>
        </div>
      ) : (
        <ResourceSelect
          label={FIELD_LABELS["/student_id"]}
          query={checkpoints}
          value={draft.studentId}
          onChange={(studentId) => change({ studentId })}
          describe={describeCheckpoint}
          fits={({ kind }) => kind === "detector" || kind === null}
          empty="choose…"
          hint="Class heads are kept for classes of the same name and start anew for others."
          problem={problemAt("/student_id", "/config/student")}
        />
      )}
    </Card>
  );
}
