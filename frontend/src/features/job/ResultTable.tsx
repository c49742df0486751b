import type { ModelReport, RunResult } from "@/api/client";
import { Card, Dot } from "@/components/basics";
import { formatAp, formatCount } from "@/lib/format";

const ROLES = ["teacher", "student", "control"] as const;

export function ResultTable({ result }: { result: RunResult }) {
  const rows = ROLES.map((role) => [role, result[role]] as const).filter(
    (row): row is readonly [(typeof ROLES)[number], ModelReport] => row[1] !== null && row[1] !== undefined,
  );
  const head = ["AP", "AP50", "AP75", "small", "medium", "large", "parameters", "ms per image"];
  return (
    <Card
      title="Result"
      aside={<span className="text-xs text-faint">measured on the exported files; {result.device}</span>}
    >
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
            {rows.map(([role, row]) => (
              <tr key={role}>
                <td className="py-1 text-left whitespace-nowrap">
                  <Dot role={role} /> {role}
                </td>
                <td className="px-3 font-semibold">{formatAp(row.metrics.ap)}</td>
                <td className="px-3">{formatAp(row.metrics.ap50)}</td>
                <td className="px-3">{formatAp(row.metrics.ap75)}</td>
                <td className="px-3">{formatAp(row.metrics.ap_small)}</td>
                <td className="px-3">{formatAp(row.metrics.ap_medium)}</td>
                <td className="px-3">{formatAp(row.metrics.ap_large)}</td>
                <td className="px-3">{formatCount(row.parameters)}</td>
                <td className="px-3">{row.milliseconds_per_image?.toFixed(1) ?? "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}
