/** Choose a dataset or a checkpoint: all that there are, however many, found by name. */
import { type ReactNode, useId } from "react";

import type { CheckpointView, DatasetView } from "@/api/client";
import type { PagedQuery } from "@/api/queries";
import { Button } from "@/components/basics";
import { SelectField } from "@/components/Field";
import { SearchBox, SearchStatus } from "@/components/SearchBox";
import { REFUSED } from "@/lib/describe";
import { useSearch } from "@/lib/useSearch";

/** So many are looked through by eye. */
const FEW = 20;
const SHOWN_MATCHES = 6;

interface Props<Row> {
  label: string;
  query: PagedQuery<Row>;
  value: string;
  onChange: (id: string) => void;
  describe: (row: Row) => string;
  /** Of the entry that stands for no choice. */
  empty: string;
  fits?: (row: Row) => boolean;
  hint?: ReactNode;
  problem?: string | undefined;
}

export function ResourceSelect<Row extends DatasetView | CheckpointView>({ fits = () => true, ...props }: Props<Row>) {
  const { label, query, value, onChange, describe, empty, hint, problem } = props;
  const { text, setText, all, rows, searching } = useSearch(query);
  const id = useId();
  const chosen = all.find((row) => row.id === value);
  const matches = rows.filter(fits);
  const offered = chosen && !matches.includes(chosen) ? [chosen, ...matches] : matches;
  const many = all.length > FEW || query.hasNextPage || text !== "";
  return (
    <div className="space-y-2">
      <SelectField
        label={label}
        value={value}
        onChange={(event) => onChange(event.target.value)}
        problem={problem}
        hint={<Hint chosen={chosen} hint={hint} />}
        size={text === "" ? undefined : Math.min(SHOWN_MATCHES, offered.length + 1)}
      >
        <option value="">{empty}</option>
        {offered.map((row) => (
          <option key={row.id} value={row.id} disabled={row.state === "refused"}>
            {row.name} ({row.state === "refused" ? `${REFUSED}: ${row.error?.message ?? ""}` : describe(row)})
          </option>
        ))}
      </SelectField>
      {many && (
        <div className="flex flex-wrap items-center gap-2 text-xs text-faint">
          <SearchBox id={id} label={`Find in ${label}`} text={text} onChange={setText} />
          <SearchStatus text={text} searching={searching} found={matches.length} idle={`${all.length} listed`} />
          {query.hasNextPage && text === "" && (
            <Button className="px-2 py-0.5 text-xs" disabled={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
              List older ones
            </Button>
          )}
        </div>
      )}
      {query.error && <p className="text-xs text-bad">{query.error.message}</p>}
    </div>
  );
}

/** What is to be known of the chosen one, before what the field is for. */
function Hint({ chosen, hint }: { chosen: DatasetView | CheckpointView | undefined; hint: ReactNode }) {
  if (chosen?.state === "checking") return "It is still being checked; the job waits for it.";
  if (chosen?.state === "refused") return <span className="text-bad">It was refused: {chosen.error?.message}</span>;
  return hint;
}
