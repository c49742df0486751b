/** What the service found when it looked at the files. */
import type { CheckpointView } from "@/api/client";
import { Chip, Warning } from "@/components/basics";
import { CHECKING, REFUSED } from "@/lib/describe";

export function CheckState({ state }: { state: CheckpointView["state"] | undefined }) {
  if (state === "checking") {
    return (
      <Chip className="bg-teacher/12 text-teacher" busy>
        {CHECKING}
      </Chip>
    );
  }
  if (state === "refused") return <Chip className="bg-bad/12 text-bad">{REFUSED}</Chip>;
  return null;
}

/** How much of the detector the weights fill. */
export function Coverage({ checkpoint }: { checkpoint: CheckpointView }) {
  const { coverage } = checkpoint;
  if (!coverage) return null;
  const { loaded, total, missing = [], unexpected = [], renamed = [] } = coverage;
  return (
    <>
      {loaded === total ? (
        <p className="text-xs text-faint">all {total} tensors are filled</p>
      ) : (
        <Warning>
          Only {loaded} of {total} tensors are filled.
        </Warning>
      )}
      {renamed.map((statement) => (
        <p key={statement} className="text-xs text-faint">
          {statement}
        </p>
      ))}
      <Names title="The file lacks" names={missing} />
      <Names title="The detector has no place for" names={unexpected} />
    </>
  );
}

function Names({ title, names }: { title: string; names: string[] }) {
  if (names.length === 0) return null;
  return (
    <details className="text-xs text-faint">
      <summary className="cursor-pointer">
        {title} {names.length === 1 ? "a tensor" : "some tensors"}
      </summary>
      <p className="font-mono break-words">{names.join(", ")}</p>
    </details>
  );
}
