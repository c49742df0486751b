import { useEffect, useState } from "react";

import { type PagedQuery, rowsOf } from "@/api/queries";

/** Rows of a list in pages, and those among all of them whose name has a text; older pages are fetched for it. */
export function useSearch<Row extends { name: string }>(query: PagedQuery<Row>) {
  const [text, setText] = useState("");
  const { hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage } = query;
  const needle = text.trim().toLowerCase();
  useEffect(() => {
    if (needle !== "" && hasNextPage && !isFetchingNextPage && !isFetchNextPageError) void fetchNextPage();
  }, [needle, hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage]);
  const all = rowsOf(query);
  const rows = all.filter(({ name }) => name.toLowerCase().includes(needle));
  return { text, setText, all, rows, searching: needle !== "" && hasNextPage && !isFetchNextPageError };
}
