import type { ModelReport, RunResult } from "@/api/client";
import { Card, RoleDot } from "@/components/basics";
import { NO_VALUE, formatAp, formatCount, verdictTitle } from "@/lib/format";
import { ROLE_NAMES, type Role } from "@/lib/roles";

interface Row {
  role: Role;
  name: string;
  report: ModelReport;
}

export function ResultTable({ result }: { result: RunResult }) {
  const further = Object.entries(result.further_teachers ?? {});
  const rows = ROLE_NAMES.flatMap((role): Row[] => [
    ...(result[role] ? [{ role, name: role, report: result[role] }] : []),
    ...(role === "teacher" ? further.map(([name, report]) => ({ role, name: `teacher ${name}`, report })) : []),
  ]);
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
