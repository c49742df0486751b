import { rowsOf, useCheckpoints, useDatasets } from "@/api/queries";
import { Button } from "@/components/basics";
import { ResourceSelect } from "@/components/ResourceSelect";
import { ClassMap } from "@/features/new-job/ClassMap";
import type { Change, Draft, ProblemAt } from "@/features/new-job/draft";
import { describeCheckpoint } from "@/lib/describe";
import { omit } from "@/lib/omit";
import { TEACHER, teacherName, teacherTitle } from "@/lib/teachers";

interface Props {
  name: string;
  draft: Draft;
  change: Change;
  problemAt: ProblemAt;
  /** The configuration is edited as JSON. */
  asJson: boolean;
}

/** The checkpoint of a teacher, and which of its classes is which. */
export function TeacherField({ name, draft, change, problemAt, asJson }: Props) {
  const checkpoints = useCheckpoints();
  const datasets = useDatasets();
  const id = draft.teacherIds[name] ?? "";
  const teacher = draft.teachers[name];
  const several = Object.keys(draft.teachers).length > 1;
  const remove = () => change({ teachers: omit(draft.teachers, name), teacherIds: omit(draft.teacherIds, name) });
  return (
    <div className="space-y-2">
      <ResourceSelect
        label={teacherTitle(name)}
        query={checkpoints}
        value={id}
        onChange={(chosen) => change({ teacherIds: { ...draft.teacherIds, [name]: chosen } })}
        describe={describeCheckpoint}
        empty="choose…"
        problem={problemAt(`/teacher_ids/${name}`)}
      />
      {!asJson && teacher && (
        <div className="flex flex-wrap items-start gap-2">
          {id !== "" && (
            <ClassMap
              teacher={name === TEACHER ? null : teacherName(name)}
              pairs={teacher.classMap}
              teachersClasses={rowsOf(checkpoints).find((row) => row.id === id)?.classes ?? []}
              ourClasses={rowsOf(datasets).find((row) => row.id === draft.datasetId)?.classes ?? []}
              onChange={(classMap) => change({ teachers: { ...draft.teachers, [name]: { ...teacher, classMap } } })}
              problem={problemAt(`/config/teachers/${name}/class_map`)}
            />
          )}
          {several && (
            <Button className="px-2 py-0.5 text-xs" aria-label={`Remove ${teacherName(name)}`} onClick={remove}>
              Remove
            </Button>
          )}
        </div>
      )}
    </div>
  );
}
