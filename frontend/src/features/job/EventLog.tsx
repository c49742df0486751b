import type { EventData, JobEvent } from "@/api/events";
import { Card } from "@/components/basics";
import { type Names, activityOf, inWords, useNames } from "@/lib/catalog";
import { formatAp, formatClock } from "@/lib/format";
import { teacherName } from "@/lib/teachers";

export function EventLog({ events }: { events: JobEvent[] }) {
  const names = useNames();
  return (
    <Card title="Events">
      <ol tabIndex={0} aria-label="events" className="max-h-72 space-y-1 overflow-y-auto text-sm">
        {events.toReversed().map((event) => (
          <li key={event.id} className="flex gap-3">
            <time className="font-mono text-xs leading-5 text-faint">{formatClock(event.at)}</time>
            <span>{describeEvent(event, names)}</span>
          </li>
        ))}
      </ol>
    </Card>
  );
}

/** An event by what its fields say; one that says nothing of interest by what the catalog says of it. */
export function describeEvent({ kind, data }: Pick<JobEvent, "kind" | "data">, names: Pick<Names, "events" | "stages">): string {
  const { state, stage, metrics, epoch, loaded, total, missing = [], file, role, step, message, result } = data;
  const name = inWords(kind);
  if (state) return joined(data.cancel_requested ? "cancellation requested" : state, data.error?.message);
  if (stage) return activityOf(stage, names);
  if (metrics) return `${modelOf(data)} AP ${formatAp(metrics.ap)} at epoch ${Number(epoch).toFixed(1)}`;
  if (loaded !== undefined) {
    return `${modelOf(data)} weights: ${loaded} of ${total} tensors${missing.length > 0 ? `, ${missing.length} missing` : ""}`;
  }
  if (file) return `${name} of the ${role} at step ${step}`;
  if (message) return message;
  if (result) return joined(name, result.verdict);
  return names.events.find((known) => known.name === kind)?.description ?? name;
}

const modelOf = ({ role, teacher }: EventData) => (teacher ? teacherName(teacher) : (role ?? ""));

const joined = (what: string, why: string | null | undefined) => (why ? `${what}: ${why}` : what);
