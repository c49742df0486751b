/** Addresses of the pages. They live below /view, so that they never shadow a path of the API. */
export const PATHS = {
  jobs: "/",
  newJob: "/view/new",
  library: "/view/library",
  job: (id: string) => `/view/jobs/${id}`,
};
