export function SearchBox({ id, label, text, onChange }: { id?: string; label: string; text: string; onChange: (text: string) => void }) {
  return (
    <input
      type="search"
      id={id}
      aria-label={label}
      placeholder="find by name"
      value={text}
      onChange={(event) => onChange(event.target.value)}
      onKeyDown={(event) => event.key === "Enter" && event.preventDefault()} // inside a form it would submit
      className="w-40 rounded-md border border-line bg-card px-2 py-1 text-xs text-ink placeholder:text-faint"
    />
  );
}

/** What the search has come to; `idle` where nothing is searched for. */
export function SearchStatus({ text, searching, found, idle = "" }: { text: string; searching: boolean; found: number; idle?: string }) {
  return <span role="status">{searching ? "searching older ones…" : text === "" ? idle : `${found} found`}</span>;
}
