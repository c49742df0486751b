import type { JobEvent } from "@/api/live";
import { Card } from "@/components/basics";
import { activityOf } from "@/features/job/stages";
import { formatAp, formatClock } from "@/lib/format";

export function EventLog({ events }: { events: JobEvent[] }) {
  return (
    <Card title="Events">
      <ol tabIndex={0} aria-label="events" className="max-h-72 space-y-1 overflow-y-auto text-sm">
        {events.toReversed().map((event) => (
          <li key={event.id} className="flex gap-3">
            <time className="font-mono text-xs leading-5 text-faint">{formatClock(event.at)}</time>
            <span>{describeEvent(event)}</span>
          </li>
        ))}
      </ol>
    </Card>
  );
}

function describeEvent({ kind, data }: JobEvent): string {
  const text = (key: string) => String(data[key] ?? "");
  const model = data.teacher ? `teacher ${text("teacher")}` : text("role");
  switch (kind) {
    case "state": {
      const why = (data.error as { message?: string } | undefined)?.message;
      return `${data.cancel_requested ? "cancellation requested" : text("state")}${why ? `: ${why}` : ""}`;
    }
    case "stage":
      return activityOf(text("stage"));
    case "weights_loaded": {
      const missing = (data.missing as string[]).length;
      return `${model} weights: ${text("loaded")} of ${text("total")} tensors${missing ? `, ${missing} missing` : ""}`;
    }
    case "evaluated":
      return `${model} AP ${formatAp((data.metrics as { ap: number }).ap)} at epoch ${Number(data.epoch).toFixed(1)}`;
    case "checkpoint":
      return `checkpoint of the ${text("role")} at step ${text("step")}`;
    case "failed":
      return text("message");
    case "finished": {
      const verdict = (data.result as { verdict?: string | null } | undefined)?.verdict;
      return verdict ? `finished: ${verdict}` : "finished";
    }
    default:
      return kind.replaceAll("_", " ");
  }
}
