import type { ModelReport, RunResult } from "@/api/client";
import { Card, RoleDot } from "@/components/basics";
import { NO_VALUE, formatAp, formatCount, verdictTitle } from "@/lib/format";
import type { Role } from "@/lib/roles";
import { byTeacher, teacherName } from "@/lib/teachers";

interface Row {
  role: Role;
  name: string;
  report: ModelReport;
}

/** Every detector of a job, the teachers by their names. */
export function reportsOf({ teachers = {}, student, control }: Pick<RunResult, "teachers" | "student" | "control">): Row[] {
  const named = Object.entries(teachers).sort(([a], [b]) => byTeacher(a, b));
  return [
    ...named.map(([name, report]): Row => ({ role: "teacher", name: teacherName(name), report })),
    { role: "student", name: "student", report: student },
    ...(control ? [{ role: "control" as const, name: "control", report: control }] : []),
  ];
}

export function ResultTable({ result }: { result: RunResult }) {
  const rows = reportsOf(result);
  const head = ["AP", "AP50", "AP75", "small", "medium", "large", "parameters", "ms per image"];
  return (
    <Card
      title="Result"
      aside={<span className="text-xs text-faint">measured on the exported files; {result.device}</span>}
    >
      {result.verdict && <p className="mb-3 font-medium text-bad">{verdictTitle(result.verdict)}</p>}
      <div className="overflow-x-auto">
        <table className="w-full text-right">
          <thead className="text-xs text-soft">
            <tr>
              <th />
              {head.map((name) => (
                <th key={name} className="px-3 pb-1 font-medium whitespace-nowrap">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map(({ role, name, report: row }) => (
              <tr key={name}>
                <td className="py-1 text-left whitespace-nowrap">
                  <RoleDot role={role} /> {name}
                </td>
                <td className="px-3 font-semibold">{formatAp(row.metrics.ap)}</td>
                <td className="px-3">{formatAp(row.metrics.ap50)}</td>
                <td className="px-3">{formatAp(row.metrics.ap75)}</td>
                <td className="px-3">{formatAp(row.metrics.ap_small)}</td>
                <td className="px-3">{formatAp(row.metrics.ap_medium)}</td>
                <td className="px-3">{formatAp(row.metrics.ap_large)}</td>
                <td className="px-3">{formatCount(row.parameters)}</td>
                <td className="px-3">{row.milliseconds_per_image?.toFixed(1) ?? NO_VALUE}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}
