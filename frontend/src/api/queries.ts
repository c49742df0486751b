/** Everything the pages read and write: one description of each query, whose key stands only there, and hooks. */
import {
  type QueryClient,
  type QueryKey,
  infiniteQueryOptions,
  queryOptions,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";

import { type CheckpointView, type DatasetView, type JobCreate, type JobView, client, unwrap } from "./client";

export const isActive = (job: Pick<JobView, "state">) => job.state === "queued" || job.state === "running";

const ACTIVE_MS = 2000;
const IDLE_MS = 10_000;
const FILES_MS = 10_000;
/** The most the service gives at once. */
const PAGE = 100;

interface Page<Row> {
  data: Row[];
  has_more: boolean;
}

const nextPage = <Row extends { id: string }>(page: Page<Row>) => (page.has_more ? page.data.at(-1)?.id : undefined);

export const jobsQuery = infiniteQueryOptions({
  queryKey: ["jobs"],
  initialPageParam: undefined as string | undefined,
  queryFn: async ({ pageParam }) =>
    unwrap(await client.GET("/jobs", { params: { query: pageParam ? { after: pageParam } : {} } })),
  getNextPageParam: nextPage,
  refetchInterval: (query) => (query.state.data?.pages.some((page) => page.data.some(isActive)) ? ACTIVE_MS : IDLE_MS),
});

export const jobQuery = (id: string) =>
  queryOptions({
    queryKey: ["job", id],
    queryFn: async () => unwrap(await client.GET("/jobs/{job_id}", { params: { path: { job_id: id } } })),
    refetchInterval: (query) => (query.state.data?.waiting_for?.length ? ACTIVE_MS : false),
  });

export const metricsQuery = (id: string) =>
  queryOptions({
    queryKey: ["metrics", id],
    queryFn: async () => unwrap(await client.GET("/jobs/{job_id}/metrics", { params: { path: { job_id: id } } })),
  });

export const artifactsQuery = (id: string) =>
  queryOptions({
    queryKey: ["artifacts", id],
    queryFn: async () => unwrap(await client.GET("/jobs/{job_id}/artifacts", { params: { path: { job_id: id } } })),
  });

/** A list in pages, newest first; read again while the service still checks some of it. */
function pagedQuery<Row extends DatasetView | CheckpointView>(key: string, load: (query: object) => Promise<Page<Row>>) {
  return infiniteQueryOptions({
    queryKey: [key],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) => load({ limit: PAGE, ...(pageParam ? { after: pageParam } : {}) }),
    getNextPageParam: nextPage,
    refetchInterval: (query) =>
      query.state.data?.pages.some((page) => page.data.some(({ state }) => state === "checking")) ? ACTIVE_MS : false,
  });
}

export const datasetsQuery = pagedQuery("datasets", async (query) => unwrap(await client.GET("/datasets", { params: { query } })));

export const checkpointsQuery = pagedQuery("checkpoints", async (query) =>
  unwrap(await client.GET("/checkpoints", { params: { query } })),
);

export const catalogQuery = queryOptions({
  queryKey: ["catalog"],
  queryFn: async () => unwrap(await client.GET("/catalog")),
  staleTime: Number.POSITIVE_INFINITY,
  // once it was not to be had, the form has no families; it comes by itself when the service is back
  refetchInterval: (query) => (query.state.data === undefined ? IDLE_MS : false),
});

export const healthQuery = queryOptions({
  queryKey: ["health"],
  queryFn: async () => unwrap(await client.GET("/health")),
  refetchInterval: (query) => (query.state.status === "error" ? ACTIVE_MS : IDLE_MS),
  retry: false,
});

/** Have queries read again. */
export function invalidate(cache: QueryClient, ...queries: { queryKey: QueryKey }[]): void {
  for (const { queryKey } of queries) void cache.invalidateQueries({ queryKey });
}

export type PagedQuery<Row> = Pick<
  ReturnType<typeof useInfiniteQuery<Page<Row>>>,
  "hasNextPage" | "isFetchingNextPage" | "isFetchNextPageError" | "fetchNextPage" | "isPending" | "error"
> & { data: { pages: Page<Row>[] } | undefined };

/** The rows of all pages that have been read. */
export const rowsOf = <Row>({ data }: { data: { pages: Page<Row>[] } | undefined }): Row[] => data?.pages.flatMap((page) => page.data) ?? [];

export const useJobs = () => useInfiniteQuery(jobsQuery);
export const useJob = (id: string) => useQuery(jobQuery(id));
export const useJobMetrics = (id: string) => useQuery(metricsQuery(id));
export const useDatasets = () => useInfiniteQuery(datasetsQuery);
export const useCheckpoints = () => useInfiniteQuery(checkpointsQuery);
export const useCatalog = () => useQuery(catalogQuery);
export const useHealth = () => useQuery(healthQuery);

export const useArtifacts = (job: Pick<JobView, "id" | "state">) =>
  useQuery({ ...artifactsQuery(job.id), refetchInterval: isActive(job) ? FILES_MS : false });

export function useCancelJob(id: string) {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: async () => unwrap(await client.POST("/jobs/{job_id}/cancel", { params: { path: { job_id: id } } })),
    onSuccess: (job) => cache.setQueryData(jobQuery(id).queryKey, job),
  });
}

/** Run a job again that failed or was cancelled: from its newest checkpoint, or from the start. */
export function useRetryJob(id: string) {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: async (from: "checkpoint" | "start") =>
      unwrap(await client.POST("/jobs/{job_id}/retry", { params: { path: { job_id: id } }, body: { from } })),
    onSuccess: (job) => {
      cache.setQueryData(jobQuery(id).queryKey, job);
      invalidate(cache, metricsQuery(id), artifactsQuery(id));
    },
  });
}

export function useCreateJob() {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: async ({ key, body }: { key: string; body: JobCreate }) =>
      unwrap(await client.POST("/jobs", { body, params: { header: { "Idempotency-Key": key } } })),
    onSuccess: () => cache.invalidateQueries({ queryKey: jobsQuery.queryKey }),
  });
}
